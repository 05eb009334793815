# Configure checks of tierra. Each records one line for the table that configure ends with.

# TR_ROW(WHAT, VALUE) - one row of the closing table
AC_DEFUN([TR_ROW], [AS_VAR_APPEND([tr_rows], ["$1|$2
"])])

AC_DEFUN([TR_ENABLE_OPTIONS], [
AC_ARG_ENABLE([asan], [AS_HELP_STRING([--enable-asan],
	[build with address and undefined-behaviour sanitizers (leaves jemalloc out)])],
	[], [enable_asan=no])
AC_ARG_ENABLE([tsan], [AS_HELP_STRING([--enable-tsan],
	[build with the thread sanitizer (leaves jemalloc out)])],
	[], [enable_tsan=no])
AC_ARG_ENABLE([fuzzing], [AS_HELP_STRING([--enable-fuzzing],
	[build the fuzz targets with libFuzzer (needs clang)])],
	[], [enable_fuzzing=no])
AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [treat warnings as errors])],
	[], [enable_werror=no])
AC_ARG_WITH([jemalloc], [AS_HELP_STRING([--without-jemalloc],
	[take slot memory straight from the kernel])], [], [with_jemalloc=yes])
AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda=auto|yes|no|DIR],
	[CUDA Toolkit to build the device side with (default auto)])], [], [with_cuda=auto])
AC_ARG_WITH([gds], [AS_HELP_STRING([--with-gds=auto|yes|no|DIR],
	[where GPUDirect Storage has its header (default auto: with the CUDA Toolkit)])],
	[], [with_gds=auto])
AS_IF([test "$enable_asan" = yes && test "$enable_tsan" = yes],
	[AC_MSG_ERROR([--enable-asan and --enable-tsan exclude each other])])
AS_IF([test "$enable_asan" = yes || test "$enable_tsan" = yes], [with_jemalloc=no-sanitizer])
AM_CONDITIONAL([FUZZING], [test "$enable_fuzzing" = yes])
AM_CONDITIONAL([TSAN], [test "$enable_tsan" = yes])
])

# TR_PKG(VAR, MODULE, DEBIAN-PACKAGE) - a required library
AC_DEFUN([TR_PKG], [
PKG_CHECK_MODULES([$1], [$2], [TR_ROW([$2], [yes])],
	[AC_MSG_ERROR([tierra needs $2; on Debian: apt-get install $3])])
])

AC_DEFUN([TR_CHECK_LIBRARIES], [
AC_SEARCH_LIBS([dlopen], [dl], [], [AC_MSG_ERROR([no dlopen])])
TR_PKG([LIBURING], [liburing >= 2.3], [liburing-dev])
TR_PKG([PMEM2], [libpmem2 >= 1.10], [libpmem2-dev])
TR_PKG([NUMA], [numa >= 2.0.14], [libnuma-dev])
TR_PKG([PCRE2], [libpcre2-8 >= 10.40], [libpcre2-dev])
TR_PKG([JANSSON], [jansson >= 2.13], [libjansson-dev])
TR_PKG([XXHASH], [libxxhash >= 0.8.0], [libxxhash-dev])
TR_PKG([ZSTD], [libzstd >= 1.4.8], [libzstd-dev])
AS_CASE([$with_jemalloc],
	[no-sanitizer], [tr_jemalloc=no; TR_ROW([jemalloc], [no (sanitizer build: plain arena)])],
	[no], [tr_jemalloc=no; TR_ROW([jemalloc], [no (--without-jemalloc: plain arena)])],
	[tr_jemalloc=yes; TR_PKG([JEMALLOC], [jemalloc >= 5.2], [libjemalloc-dev])])
AM_CONDITIONAL([HAVE_JEMALLOC], [test "$tr_jemalloc" = yes])
PKG_CHECK_MODULES([NCURSES], [ncursesw >= 6], [
	tr_ncurses=yes
	TR_ROW([live view], [yes])
	AC_DEFINE([HAVE_NCURSES], [1], [the live view can fill a terminal])],
	[tr_ncurses=no; TR_ROW([live view], [as text (ncurses not found: apt-get install libncurses-dev)])])
PKG_CHECK_MODULES([CMOCKA], [cmocka >= 1.1.5], [tr_cmocka=yes; TR_ROW([unit tests], [yes])],
	[tr_cmocka=no; TR_ROW([unit tests], [no (cmocka not found: apt-get install libcmocka-dev)])])
AM_CONDITIONAL([HAVE_CMOCKA], [test "$tr_cmocka" = yes])
])

# The device side is compiled by nvcc. "auto" takes a toolkit when one is found. The runtime is linked
# in, so that a program built here starts on machines without CUDA.
AC_DEFUN([TR_CHECK_CUDA], [
AC_ARG_WITH([cuda-arch], [AS_HELP_STRING([--with-cuda-arch=86,90],
	[compute capabilities to build device code for (default 86,90)])],
	[], [with_cuda_arch=86,90])
tr_cuda=no
tr_cuda_dir=
AS_CASE([$with_cuda],
	[no], [tr_cuda_why="--with-cuda=no"],
	[auto|yes], [
		AC_PATH_PROG([NVCC], [nvcc], [], [$PATH:/usr/local/cuda/bin])
		AS_IF([test -n "$NVCC"], [tr_cuda=yes; tr_cuda_dir=`dirname "$NVCC"`/..],
			[tr_cuda_why="nvcc not found"])],
	[
		AC_PATH_PROG([NVCC], [nvcc], [], [$with_cuda/bin])
		AS_IF([test -n "$NVCC"], [tr_cuda=yes; tr_cuda_dir=$with_cuda],
			[AC_MSG_ERROR([no nvcc in $with_cuda/bin])])])
TR_CUDA_LIBS=
TR_NVCC_ARCH=
AS_IF([test "$tr_cuda" = yes], [
	for tr_lib in lib64 lib targets/x86_64-linux/lib; do
		AS_IF([test -f "$tr_cuda_dir/$tr_lib/libcudart_static.a" && test -z "$TR_CUDA_LIBS"],
			[TR_CUDA_LIBS="-L$tr_cuda_dir/$tr_lib -lcudart_static -ldl -lrt"])
	done
	for tr_arch in `AS_ECHO(["$with_cuda_arch"]) | tr , ' '`; do
		AS_CASE([$tr_arch],
			[*@<:@!0-9@:>@*], [AC_MSG_ERROR([--with-cuda-arch: '$tr_arch' is no number such as 86])])
		AS_VAR_APPEND([TR_NVCC_ARCH],
			[" -gencode arch=compute_$tr_arch,code=sm_$tr_arch"])
	done
	AS_IF([test -z "$TR_NVCC_ARCH"], [AC_MSG_ERROR([--with-cuda-arch is empty])])
	AS_IF([test -z "$TR_CUDA_LIBS"], [
		tr_cuda=no
		tr_cuda_why="no libcudart_static.a in $tr_cuda_dir"])])
AS_IF([test "$with_cuda" = yes && test "$tr_cuda" = no],
	[AC_MSG_ERROR([--with-cuda=yes, but $tr_cuda_why])])
AM_CONDITIONAL([HAVE_CUDA], [test "$tr_cuda" = yes])
AS_IF([test "$tr_cuda" = yes],
	[TR_ROW([cuda], [$NVCC, compute capability $with_cuda_arch])],
	[TR_ROW([cuda], [no ($tr_cuda_why)])])
TR_NVCC_FLAGS="-O3 -Xcompiler -Wall,-Wextra"
AS_IF([test "$enable_werror" = yes],
	[AS_VAR_APPEND([TR_NVCC_FLAGS], [" -Werror all-warnings -Xcompiler -Werror"])])
AC_SUBST([NVCC])
AC_SUBST([TR_CUDA_LIBS])
AC_SUBST([TR_NVCC_ARCH])
AC_SUBST([TR_NVCC_FLAGS])
])

# GPUDirect Storage needs its header and that of the CUDA driver; the library is opened when it is used.
AC_DEFUN([TR_CHECK_GDS], [
TR_GDS_CPPFLAGS=
tr_gds_dirs=$tr_cuda_dir
tr_gds_why="no cufile.h in the CUDA Toolkit"
AS_CASE([$with_gds],
	[no], [tr_gds_dirs=; tr_gds_why="--with-gds=no"],
	[auto|yes], [],
	[tr_gds_dirs=$with_gds; tr_gds_why="no cufile.h in $with_gds/include that compiles"])
for tr_inc in include targets/x86_64-linux/include; do
	AS_IF([test -n "$tr_gds_dirs" && test -f "$tr_gds_dirs/$tr_inc/cufile.h" &&
		test -z "$TR_GDS_CPPFLAGS"],
		[TR_GDS_CPPFLAGS="-isystem $tr_gds_dirs/$tr_inc"
		AS_IF([test -n "$tr_cuda_dir"],
			[AS_VAR_APPEND([TR_GDS_CPPFLAGS], [" -isystem $tr_cuda_dir/include"])])])
done
AS_IF([test -n "$TR_GDS_CPPFLAGS"], [
	tr_saved_cppflags=$CPPFLAGS
	CPPFLAGS="$CPPFLAGS $TR_GDS_CPPFLAGS"
	AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <cufile.h>]],
		[[return cufileop_status_error(CU_FILE_SUCCESS) == 0;]])], [], [TR_GDS_CPPFLAGS=])
	CPPFLAGS=$tr_saved_cppflags])
AS_IF([test -n "$TR_GDS_CPPFLAGS"],
	[AC_DEFINE([HAVE_CUFILE], [1], [Define to 1 if cufile.h is there.])
	TR_ROW([gds], [yes])],
	[AS_CASE([$with_gds], [auto|no], [TR_ROW([gds], [no ($tr_gds_why)])],
		[AC_MSG_ERROR([--with-gds=$with_gds, but $tr_gds_why])])])
AC_SUBST([TR_GDS_CPPFLAGS])
])

AC_DEFUN([TR_COMPILER_FLAGS], [
# -ffp-contract=off: the order and rounding of every float operation is written in the source.
TR_CFLAGS="-std=gnu11 -fvisibility=hidden -ffp-contract=off -pthread"
for f in -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wwrite-strings -Wvla -Wimplicit-fallthrough -Wformat=2 -Wno-format-nonliteral; do
	AX_CHECK_COMPILE_FLAG([$f], [AS_VAR_APPEND([TR_CFLAGS], [" $f"])], [], [-Werror])
done
AS_IF([test "$enable_werror" = yes], [AS_VAR_APPEND([TR_CFLAGS], [" -Werror"])])
TR_LDFLAGS="-pthread"
AS_IF([test "$enable_asan" = yes], [
	tr_san="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
	TR_ROW([sanitizers], [address, undefined])],
      [test "$enable_tsan" = yes], [tr_san="-fsanitize=thread"; TR_ROW([sanitizers], [thread])],
      [tr_san=])
AS_IF([test "$enable_fuzzing" = yes], [
	AX_CHECK_COMPILE_FLAG([-fsanitize=fuzzer-no-link], [tr_san="$tr_san -fsanitize=fuzzer-no-link"],
		[AC_MSG_ERROR([--enable-fuzzing needs clang: CC=clang ./configure ...])])
	TR_ROW([fuzz targets], [libFuzzer])], [TR_ROW([fuzz targets], [corpus replay only])])
TR_CFLAGS="$TR_CFLAGS $tr_san"
TR_LDFLAGS="$TR_LDFLAGS $tr_san"
AC_SUBST([TR_CFLAGS])
AC_SUBST([TR_LDFLAGS])
])

# The build is portable; only the files of one instruction set get its flags.
AC_DEFUN([TR_CHECK_SIMD], [
TR_AVX2_CFLAGS="-mavx2 -mfma -mf16c"
TR_AVX512_CFLAGS="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c"
AX_CHECK_COMPILE_FLAG([$TR_AVX2_CFLAGS], [tr_avx2=yes], [tr_avx2=no], [-Werror])
AX_CHECK_COMPILE_FLAG([$TR_AVX512_CFLAGS], [tr_avx512=yes], [tr_avx512=no], [-Werror])
# Unrolled loops with UBSan's checks take minutes to compile; their bits are compared with those of
# the scalar functions, which have the checks.
AS_IF([test "$enable_asan" = yes], [AS_VAR_APPEND([TR_AVX512_CFLAGS], [" -fno-sanitize=undefined"])])
AM_CONDITIONAL([HAVE_AVX2], [test "$tr_avx2" = yes])
AM_CONDITIONAL([HAVE_AVX512], [test "$tr_avx512" = yes])
AS_IF([test "$tr_avx2" = yes], [AC_DEFINE([HAVE_AVX2], [1], [AVX2 kernels are built])])
AS_IF([test "$tr_avx512" = yes], [AC_DEFINE([HAVE_AVX512], [1], [AVX-512 VNNI kernels are built])])
AC_SUBST([TR_AVX2_CFLAGS])
AC_SUBST([TR_AVX512_CFLAGS])
TR_ROW([kernels], [scalar`test $tr_avx2 = yes && printf ', avx2'``test $tr_avx512 = yes && printf ', avx512'`])
])

AC_DEFUN([TR_SUMMARY], [
AS_ECHO([""])
AS_ECHO(["tierra $PACKAGE_VERSION for $host, $CC"])
AS_ECHO(["$tr_rows"]) | $AWK -F'|' 'NF > 1 { printf "  %-22s %s\n", $[]1, $[]2 }'
])
