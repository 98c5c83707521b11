"""A case: the folder in which an analyst's inputs, verdicts and decisions are kept, for others to check.

case = Case.create("case")                      # or Case.open
case.add(verdicts, basis)                       # each call is acknowledged once it returns
case.verdicts()                                 # the state: the journal replayed
case.problems()                                 # a line for each thing that was altered
"""

from owdfa.case.case import Case
from owdfa.case.journal import Entry, Journal

__all__ = ["Case", "Entry", "Journal"]
