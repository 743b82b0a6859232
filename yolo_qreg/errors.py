"""The one exception that means "the input is wrong, and this is how to mend it"."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input, told in one line: the value, the rule it breaks and the remedy.

    The command line prints the message alone and exits with status 2; a traceback is shown for every other
    exception, because those are defects.
    """
