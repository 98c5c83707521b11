"""A case: the folder of an analyst's inputs, verdicts and decisions, for others to check.

case = Case.create("case")                      # or Case.open
case.add(found, attribution)                    # acknowledged, and on the disk, once it returns
case.items()                                    # the state: the journal replayed
check("case")                                   # a line for each thing that was altered
"""

from owdfa.case.case import Attributed, Case, check, is_case
from owdfa.case.items import Item, Items
from owdfa.case.journal import Entry, Journal
from owdfa.case.lines import ATTRIBUTED

__all__ = [
    "ATTRIBUTED",
    "Attributed",
    "Case",
    "Entry",
    "Item",
    "Items",
    "Journal",
    "check",
    "is_case",
]
