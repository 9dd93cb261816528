"""How fast a long run is, and how long the rest of it takes, in words."""

from __future__ import annotations


class Speed:
    """The speed of a run.

    Args:
        to_do: Images that the run is to do.
        warm_up: Speed is that of the images after so many, with which workers begin: on them models are loaded and
            loops are compiled.
    """

    def __init__(self, to_do: int, *, warm_up: int) -> None:
        self._to_do = to_do
        self._warm_up = warm_up
        self._warm: tuple[int, float] | None = None

    def told(self, done: int, now_s: float) -> str:
        """How fast it is, and how long the rest takes; to be asked after every image.

        Args:
            done: Images that are done.
            now_s: What a clock shows, in seconds.

        Example:
            >>> speed = Speed(5, warm_up=1)
            >>> [speed.told(done, now_s) for done, now_s in ((1, 130.0), (3, 140.0))]
            ['estimating the speed', '0.20 images/s, 10 s to go']
        """
        if self._warm is None and done >= self._warm_up:
            self._warm = done, now_s
        if self._warm is None or done == self._warm[0]:
            return "estimating the speed"
        rate = (done - self._warm[0]) / max(now_s - self._warm[1], 1e-9)
        return f"{rate:.2f} images/s, {duration((self._to_do - done) / rate)} to go"


def duration(seconds: float) -> str:
    """A time for people.

    Example:
        >>> duration(59), duration(3700), duration(200_000)
        ('59 s', '1 h 1 min', '2 d 7 h')
    """
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // smaller:.0f} {smaller_unit}"
    return f"{seconds:.0f} s"
