"""What a guarded call costs, beside other libraries, in one run.

`python -m benchmarks` prints ratios to a bare await. Absolute times say more
about the machine than about the code.
"""
