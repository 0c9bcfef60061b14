"""Who takes part in the next call: callers have equal shares; of a caller what is due earliest goes first.

Fair queueing by virtual time (Demers, Keshav and Shenker, 1989): the caller that has used the fewest rows is
next. One who comes new, or comes back, begins where the least of the others stands, so nobody saves up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.diffusion.serving.job import Account, Image


class Fairness:
    """Images that are not finished, by caller."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def __len__(self) -> int:
        return sum(len(account.images) for account in self._accounts.values())

    def add(self, image: Image) -> None:
        """One more image."""
        caller = image.job.order.caller
        if caller not in self._accounts:
            least = min((account.used for account in self._accounts.values()), default=0.0)
            self._accounts[caller] = Account(used=least)
        images = self._accounts[caller].images
        images.append(image)
        images.sort(key=lambda each: (each.job.due, each.job.figures.submitted, each.index))

    def remove(self, image: Image) -> None:
        """It is finished, or its caller has gone."""
        account = self._accounts[image.job.order.caller]
        account.images.remove(image)
        if not account.images:
            del self._accounts[image.job.order.caller]

    def images(self) -> list[Image]:
        """All of them, in the order in which they would get a row each."""
        return list(self._in_turn({caller: account.used for caller, account in self._accounts.items()}))

    def choose(self, fits: Callable[[Image], bool]) -> list[Image]:
        """Images for the next call: as many as are worth it, and one at least if one ``fits``.

        All of one model and one shape: those of the first that is chosen. They are charged for it.
        """
        used = {caller: account.used for caller, account in self._accounts.items()}
        chosen: list[Image] = []
        taken = rows = 0
        for image in self._in_turn(used):
            needs = image.job.order.rows
            has_room = not chosen or (taken + needs <= rows and _kind(image) == _kind(chosen[0]))
            if not has_room or not fits(image):
                continue
            if not chosen:
                rows = self._worth(image)
            chosen.append(image)
            taken += needs
            self._accounts[image.job.order.caller].used += needs
            if taken >= rows:
                break
        return chosen

    def _worth(self, first: Image) -> int:
        """Rows of a call that begins with an image, with all that could share it waiting."""
        images = (each for account in self._accounts.values() for each in account.images)
        waiting = sum(each.job.order.rows for each in images if _kind(each) == _kind(first))
        return first.job.order.model.denoiser.profile.worth(waiting)

    def _in_turn(self, used: dict[str, float]) -> Iterator[Image]:
        """Image by image from the caller that has used least, each counted as it comes."""
        waiting = {caller: iter(account.images) for caller, account in self._accounts.items()}
        while waiting:
            caller = min(waiting, key=lambda each: used[each])
            image = next(waiting[caller], None)
            if image is None:
                del waiting[caller]
                continue
            used[caller] += image.job.order.rows
            yield image


def _kind(image: Image) -> tuple[int, tuple[int, ...]]:
    """What images of one call have in common."""
    return id(image.job.order.model), image.job.order.shape
