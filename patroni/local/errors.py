"""What the driver says when something cannot be done."""


class ClusterError(Exception):
    """The message is for the user, as it is."""


class NotPossible(ClusterError):
    """This machine, or this kind of hosts, cannot do that."""

    def __str__(self):
        return 'not possible here: ' + super().__str__()
