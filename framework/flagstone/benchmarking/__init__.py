"""Benchmarks, defined once: ``flagstone bench``, the gate of pull requests and asv run the same.

A plugin's model, layer, optimizer or backend is in the catalogue as soon as it is installed::

    from flagstone.benchmarking.catalogue import catalogue

    run = catalogue()["step/mlp"].prepare(open_backend("cpu"))
    run()

``python -m flagstone.benchmarking.gate`` compares two commits of any repository. What it imports
(``builds``, ``intervals``, ``report``, ``sides``) needs the standard library only, so that it can
say of a flagstone that does not start that it does not.
"""
