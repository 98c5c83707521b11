"""What goes wrong by the user's input, as opposed to by our mistake."""


class UserError(Exception):
    """Something that the user can fix.

    The message is one line that names the file or setting and the remedy. The command line prints
    it after ``owdfa:`` and exits with status 2; any other exception is a bug and keeps its
    traceback.
    """
