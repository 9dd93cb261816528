"""What goes wrong with a store."""


class StoreError(ValueError):
    """A store cannot be used as asked; the message says why and what to do."""
