"""The benchmark: the course's models beside other libraries, and the notebook on scale at full size.

``python -m benchmarks --help`` lists its commands; README.md in this folder says how it measures. Nothing may
be imported here: the peers' environments have neither the course nor pandas.
"""
