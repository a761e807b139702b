"""Start-up: fresh processes that import flagstone or run a command."""

from flagstone.benchmarking.of_start import CODE


def _started(name):
    def run():
        return CODE[name]

    run.__name__ = f"timeraw_{name.replace('-', '_')}"
    return run


timeraw_import = _started("import")
timeraw_import_nn = _started("import-nn")
timeraw_help = _started("help")
timeraw_models = _started("models")
