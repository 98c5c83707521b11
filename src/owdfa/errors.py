"""What goes wrong by the user's input, as opposed to by our mistake."""


class UserError(Exception):
    """Something the user can mend.

    The message is one line that names the file or setting and says what to do. The command line
    prints it after ``owdfa:`` and exits with status 2; any other exception is a bug and keeps its
    traceback.
    """


class LostProcessError(UserError):
    """Another process of this training ended before its time: it knows why, not this one."""
