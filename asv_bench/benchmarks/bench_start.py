"""Start-up: fresh processes that import flagstone or run a command."""

from flagstone.benchmarking.of_start import CODE

# asv reads the time from standard output, where a command writes, too.
QUIET = "import os, sys; out, sys.stdout = sys.stdout, open(os.devnull, 'w')"
AGAIN = "sys.stdout = out"


def _started(name):
    def run():
        return f"{CODE[name]}\n{AGAIN}", QUIET

    run.__name__ = f"timeraw_{name.replace('-', '_')}"
    run.pretty_name = f"start/{name}"
    return run


timeraw_import = _started("import")
timeraw_import_nn = _started("import-nn")
timeraw_help = _started("help")
timeraw_models = _started("models")
