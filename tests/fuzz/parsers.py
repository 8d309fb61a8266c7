"""Every parser of the package that reads what others wrote, with a maker of hostile input for it.

A parser either returns or raises one of its own errors. Everything else is a fault: another exception, an error
without a message, a case that takes longer than it may or fills the memory.
"""

from files import FILES
from values import VALUES

PARSERS = {**VALUES, **FILES}
