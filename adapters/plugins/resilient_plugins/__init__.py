"""What pytest and Hypothesis load by themselves where the library is installed.

Everybody pays for it who runs a test or imports Hypothesis in that environment,
also where nothing of the library is used. So it stands beside the library and
loads nothing of it, before a test asks for something.
"""
