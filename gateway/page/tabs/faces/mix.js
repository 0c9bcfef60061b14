// A face with some layers' styles of another one.

import { call, GAN } from "../../app/api.js";
import { button, card, h, pictureUrl, time } from "../../app/dom.js";
import { choice, control, number } from "../../app/fields.js";
import { task } from "../../app/task.js";
import { slot } from "../../parts/picture.js";

/** First and last layer, as shares of all: what they are about. */
const PARTS = [
  ["0-0.34", "coarse layers: form and pose"],
  ["0.34-0.67", "middle layers: features"],
  ["0.67-1", "fine layers: colours"],
];

export function mixCard(face) {
  const [donor, mixed] = [slot(), slot()];
  const form = task({
    label: "Mix",
    link: false,
    fields: [
      number("donor", "Seed of the other", { value: 12, min: 0, required: true }),
      choice("part", "Take from it", PARTS, { value: PARTS[1][0] }),
    ],
    run: async (given, at) => {
      const { model, options } = face;
      const sampled = await call(
        `${GAN}/Sample`,
        {
          model,
          seeds: [given.donor],
          options: { ...options, returnCodes: true },
        },
        at.signal,
      );
      const [other] = sampled.images;
      donor.show(pictureUrl(other.image), `the other: seed ${given.donor}`);
      donor.caption(h("span", {}, `the other, seed ${given.donor}`));
      const layers = chosen(given.part, other.code.layers);
      const asked = {
        model,
        base: face.origin,
        donors: [{ origin: { seed: given.donor }, layers }],
        options,
      };
      const { image, usage } = await call(
        `${GAN}/Mix`,
        { ...asked, options: { ...options, returnCodes: true } },
        at.signal,
      );
      const url = pictureUrl(image.image);
      mixed.show(url, `${face.name} with layers ${layers.join(", ")} of seed ${given.donor}`);
      mixed.caption(
        h("span", {}, "the mix"),
        button("Take it", () =>
          face.set({ origin: { code: image.code }, url, name: `${face.name} mixed with ${given.donor}` }),
        ),
      );
      return `Layers ${layers.join(", ")} of ${other.code.layers}, in ${time(usage.computeMs)}.`;
    },
  });
  const another = button("Another one", () => {
    control(form, "donor").value = Math.floor(Math.random() * 1e6);
    form.requestSubmit();
  });
  form.querySelector(".runs").prepend(another);
  return card(
    "Mix",
    h("p", { class: "note" }, "Each layer has a style of its own, and any of them can be another face's."),
    form,
    h("div", { class: "grid two" }, donor.element, mixed.element),
  );
}

function chosen(part, layers) {
  const [from, to] = part.split("-").map((share) => Math.round(Number(share) * layers));
  return Array.from({ length: to - from }, (_, i) => from + i);
}
