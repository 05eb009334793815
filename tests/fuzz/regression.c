/*
 * regression.c - reruns a fuzz target over corpus files, without libFuzzer: old crashes stay in
 * `make check`. Speaks TAP, one line a file; a crash leaves the plan short, which fails.
 *
 * Arguments are files or directories. Without any, the directory TR_CORPUS (set at compile time)
 * under the source tree, which the harness names in TR_SRCDIR.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct list {
	char **paths;
	size_t n;
};

static int fail(const char *what, const char *path)
{
	printf("Bail out! %s %s: %s\n", what, path, strerror(errno));
	return 1;
}

static int add_file(struct list *list, const char *dir, const char *name)
{
	char **paths = realloc(list->paths, (list->n + 1) * sizeof(*paths));
	size_t n = strlen(dir) + strlen(name) + 2;
	char *path = malloc(n);

	if (!paths || !path) {
		if (paths)
			list->paths = paths;
		free(path);
		return fail("remembering", name);
	}
	snprintf(path, n, "%s%s%s", dir, *dir ? "/" : "", name);
	list->paths = paths;
	list->paths[list->n++] = path;
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_dir(struct list *list, const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return fail("opening", dir);
	while (!rc && (e = readdir(d)))
		if (e->d_name[0] != '.')
			rc = add_file(list, dir, e->d_name);
	closedir(d);
	return rc;
}

static int add(struct list *list, const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return fail("looking at", path);
	return S_ISDIR(st.st_mode) ? add_dir(list, path) : add_file(list, "", path);
}

/* The target gets a block of exactly the file's size, so that a sanitizer sees a read past it. */
static int replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	struct stat st;
	int rc = 1;

	if (!f)
		return fail("opening", path);
	if (!fstat(fileno(f), &st)) {
		size_t n = (size_t)st.st_size;

		data = malloc(n ? n : 1);
		if (data && fread(data, 1, n, f) == n) {
			LLVMFuzzerTestOneInput(data, n);
			rc = 0;
		}
	}
	free(data);
	fclose(f);
	return rc ? fail("reading", path) : 0;
}

int main(int argc, char **argv)
{
	struct list list = { 0 };
	const char *top = getenv("TR_SRCDIR");
	char dir[4096];
	int rc = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; !rc && i < argc; i++)
		rc = add(&list, argv[i]);
	if (argc == 1) {
		snprintf(dir, sizeof(dir), "%s/%s", top ? top : ".", TR_CORPUS);
		rc = add(&list, dir);
	}
	if (list.n)
		qsort(list.paths, list.n, sizeof(*list.paths), by_text);
	if (!rc)
		printf("1..%zu\n", list.n);
	for (size_t i = 0; !rc && i < list.n; i++) {
		const char *slash = strrchr(list.paths[i], '/');

		rc = replay(list.paths[i]);
		if (!rc)
			printf("ok %zu - %s\n", i + 1, slash ? slash + 1 : list.paths[i]);
	}
	for (size_t i = 0; i < list.n; i++)
		free(list.paths[i]);
	free(list.paths);
	return rc;
}
