"""The pure core: decisions made from numbers.

Nothing here reads a clock, draws a random number, logs, waits or knows of
threads. A policy is a frozen value; what one call of it remembers is a small
object that takes `now` and `rnd` and returns a decision.
"""
