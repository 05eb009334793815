"""The engine to compare with: llama.cpp from the Python package llama-cpp-python.

The package is compiled for this machine (GGML_NATIVE) in a virtual environment, once. That takes
some minutes, a C++ compiler, cmake, and the network.
"""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = "llama-cpp-python"
CHECK = "import llama_cpp; print(llama_cpp.__version__)"


def _version(python):
    try:
        return subprocess.run([python, "-c", CHECK], capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _build(folder):
    log = folder + ".log"
    env = dict(os.environ, CMAKE_ARGS="-DGGML_NATIVE=ON", PIP_DISABLE_PIP_VERSION_CHECK="1")
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "install"]
    print(f"run: building {PACKAGE} in {folder}, see {log}", file=sys.stderr)
    try:
        out = open(log, "w", encoding="utf-8")
    except OSError as e:
        sys.exit(f"run: {log}: {e.strerror}; choose another folder with --peer-venv")
    with out:
        for command in ([sys.executable, "-m", "venv", folder],
                        pip + ["--no-binary", PACKAGE, PACKAGE]):
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=env,
                              check=False).returncode:
                sys.exit(f"run: {' '.join(command)} failed, see {log}; python3-venv, a C++ "
                         "compiler and cmake are needed")


def prepare(folder):
    """Python of an environment that has the package, and the package's version."""
    python = os.path.join(folder, "bin", "python")
    if not _version(python):
        _build(folder)
    version = _version(python)
    if not version:
        sys.exit(f"run: {python} cannot import llama_cpp")
    return python, version


def command(python, model, args, tokens, warm, repack):
    """The command that measures; its output has the keys of bench_decode's."""
    line = [python, os.path.join(HERE, "peer_llama.py"), model, "--tokens", str(tokens),
            "--warm", str(warm)]
    for name in ("threads", "prefill", "repeats", "seed"):
        if getattr(args, name) is not None:
            line += ["--" + name, str(getattr(args, name))]
    return line + (["--repack"] if repack else [])
