// Frames that play, or that are pulled through by hand.

import { button, calm, h } from "../app/dom.js";

const FRAMES_A_SECOND = 20;

/** `begin(count)`, `add(url)` as frames come. It plays unless the reader asked for less motion. */
export function player(label) {
  const image = h("img", { alt: label, hidden: true });
  const place = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": `Frame of ${label}` });
  const toggle = button("Play", () => play(!timer));
  let frames = [];
  let timer = 0;

  const show = (index) => {
    if (!frames[index]) return;
    image.src = frames[index];
    image.hidden = false;
    place.value = index;
  };
  const tick = () => {
    if (!place.isConnected || image.checkVisibility?.() === false) return; // another tab is open
    show((Number(place.value) + 1) % frames.length);
  };
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(tick, 1000 / FRAMES_A_SECOND) : 0;
    toggle.textContent = on ? "Pause" : "Play";
  };
  place.addEventListener("input", () => {
    play(false);
    show(Number(place.value));
  });
  return {
    element: h(
      "figure",
      { class: "slot large" },
      h("div", { class: "frame" }, image),
      h("div", { class: "player" }, toggle, place),
    ),
    begin() {
      play(false);
      frames = [];
      place.max = 0;
    },
    add(url) {
      frames.push(url);
      place.max = frames.length - 1;
      if (frames.length === 1) show(0);
      if (frames.length === 2 && !calm()) play(true);
    },
  };
}
