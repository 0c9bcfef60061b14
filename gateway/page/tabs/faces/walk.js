// A walk from the face through others and back, frame by frame as it is made.

import { GAN, stream } from "../../app/api.js";
import { card, h, pictureUrl, time } from "../../app/dom.js";
import { choice, number, slider } from "../../app/fields.js";
import { task } from "../../app/task.js";
import { player } from "../../parts/player.js";

const SPREAD = 1000;

export function walkCard(face) {
  const film = player("the walk");
  const form = task({
    label: "Walk",
    link: false,
    fields: [
      slider("stops", "Faces on the way", { value: 3, min: 2, max: 8 }),
      slider("frames", "Frames", { value: 48, min: 12, max: 240, step: 12 }),
      number("walk_seed", "Seed of the others", { value: 1, min: 0, required: true }),
      choice("space", "Through", [
        ["W", "W, the styles"],
        ["Z", "Z, the random numbers (from seeds only)"],
      ]),
    ],
    run: async (given, at) => {
      const others = Array.from({ length: given.stops - 1 }, (_, i) => ({
        seed: given.walk_seed * SPREAD + i,
      }));
      const asked = {
        model: face.model,
        stops: [face.origin, ...others],
        frames: given.frames,
        loop: true,
        space: `LATENT_SPACE_${given.space}`,
        options: { ...face.options, noiseSeed: 1 },
      };
      const started = performance.now();
      let count = 0;
      film.begin();
      for await (const { frame } of stream(`${GAN}/Interpolate`, asked, at.signal)) {
        if (!frame) continue;
        film.add(pictureUrl(frame.image.image));
        count += 1;
        at.say(`Frame ${count} of ${given.frames}`);
        at.progress(count, given.frames);
      }
      return `${count} frames in ${time(performance.now() - started)}.`;
    },
  });
  return card(
    "A walk through faces",
    h(
      "div",
      { class: "split" },
      h(
        "div",
        { class: "stack" },
        h("p", { class: "note" }, "From the face above through others and back to it."),
        form,
      ),
      film.element,
    ),
  );
}
