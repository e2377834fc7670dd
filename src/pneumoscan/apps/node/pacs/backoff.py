"""How long to wait for a PACS that is away: a second at first, then twice as long each time, until it answers again."""

import time

_FIRST, _LONGEST = 1.0, 30.0


class Backoff:
    """What all tasks of a process know of the PACS.

    Attributes:
        away: Whether the last that was heard of it was that it is away.
    """

    def __init__(self) -> None:
        self.away = False
        self._pause, self._until = _FIRST, 0.0

    def failed(self, at_least: float = 0.0) -> float:
        """Take note that it is away; return for how many seconds nothing should be asked of it.

        Args:
            at_least: Seconds that the pause lasts in any case.
        """
        now = time.monotonic()
        # Several tasks notice the same failure.
        if now >= self._until:
            self._until = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST)
        self._until = max(self._until, now + at_least)
        self.away = True
        return self._until - now

    def succeeded(self) -> None:
        """Take note that it answers."""
        self.away = False
        self._pause, self._until = _FIRST, 0.0

    @property
    def remaining(self) -> float:
        """Seconds that are still to be waited; 0 for none."""
        return max(0.0, self._until - time.monotonic())
