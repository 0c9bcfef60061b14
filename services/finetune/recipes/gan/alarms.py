"""What the watch over a GAN writes into its journal, as whoever follows a training hears it."""

from __future__ import annotations

from services.finetune.recipes.gan.pitfalls.events import Event, What
from services.finetune.recipes.watching import Alarm, Watcher

_SAID = {
    What.ALARM: "{kind} shows in {signs}",
    What.ACTION: "{kind}: countered",
    What.RECOVERED: "{kind} is over",
    What.HELPLESS: "{kind} goes on, and nothing is left to be done",
}


def tell(watcher: Watcher, event: Event) -> None:
    """One event."""
    words = {"kind": event.pitfall.replace("_", " "), "signs": ", ".join(event.signs) or "its figures"}
    said = _SAID[event.what].format(**words)
    is_over = event.what is What.RECOVERED
    alarm = Alarm(event.pitfall, event.step, said, dict(event.figures), event.action, cleared=is_over)
    watcher.alarmed(alarm)
