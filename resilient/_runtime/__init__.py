"""The drivers: the only code of the library that awaits."""
