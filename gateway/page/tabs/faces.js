// Faces: of nobody, in one pass of a generator, and what its latent space allows.

import { call, GAN } from "../app/api.js";
import { button, card, h, pictureUrl, time } from "../app/dom.js";
import { control, more, number, slider } from "../app/fields.js";
import { modelField, ofKind, ready } from "../app/models.js";
import { task } from "../app/task.js";
import { saved, slot } from "../parts/picture.js";
import { attributeFields, stated } from "./faces/attributes.js";
import { editCard } from "./faces/edit.js";
import { mixCard } from "./faces/mix.js";
import { nearestCard } from "./faces/nearest.js";
import { projectCard } from "./faces/project.js";
import { sideBySideCard } from "./faces/versus.js";
import { walkCard } from "./faces/walk.js";

const FIRST = 6;
const PSI = 0.7;
const OTHERS = 12;
const LARGEST_SEED = 2 ** 31;
/** Enlarged, since the shipped model draws 32 pixels. */
export const LARGE = { upscaleFactor: 4 };

export function facesTab() {
  const face = current();
  return [
    h("h2", {}, "Faces"),
    h(
      "p",
      { class: "lead" },
      "A generator makes a face of a list of random numbers, in one pass. Near lists make like " +
        "faces, so that one can walk, mix, and look for a face of one's own.",
    ),
    dailyCard(face),
    walkCard(face),
    h("div", { class: "even" }, mixCard(face), editCard(face)),
    h("div", { class: "even" }, projectCard(face), nearestCard(face)),
    sideBySideCard(),
  ];
}

/** The face that all parts of the tab are about. */
function current() {
  const listeners = [];
  const face = {
    model: "",
    origin: { seed: FIRST },
    options: { ...LARGE, truncationPsi: PSI },
    url: "",
    name: `seed ${FIRST}`,
    onChange: (act) => listeners.push(act),
    set(changes) {
      Object.assign(face, changes);
      listeners.forEach((act) => act());
    },
  };
  return face;
}

function dailyCard(face) {
  const shown = slot("large");
  const others = h("div", { class: "grid small" });
  const attributes = attributeFields();
  face.onChange(() => {
    shown.show(face.url, `a face of nobody: ${face.name}`);
    shown.caption(h("span", {}, face.name), saved(face.url, "face.png"));
  });
  const form = task({
    label: "Draw",
    fields: [
      number("seed", "Seed", { value: FIRST, min: 0, required: true, hint: "The same seed, the same face." }),
      slider("psi", "Truncation ψ", {
        value: PSI,
        min: 0,
        max: 1.5,
        step: 0.05,
        shown: (v) => v.toFixed(2),
        hint: "0 is the mean of all faces, 1 a face as it comes.",
      }),
      modelField("gan", "Model", ofKind("GAN"), { prefer: "peeps-gan", then: attributes.fit }),
      more("Attributes", attributes.element),
    ],
    run: (given, at) => draw(given, at, face, others),
  });
  const another = button("Another person", () => {
    control(form, "seed").value = Math.floor(Math.random() * LARGEST_SEED);
    form.requestSubmit();
  });
  form.querySelector(".runs").prepend(another);
  form.addEventListener("listed", () => {
    if (ready(form)) form.requestSubmit();
  });
  return card(
    "This person does not exist",
    h(
      "div",
      { class: "split" },
      form,
      h("div", { class: "daily" }, shown.element, h("div", {}, h("h4", {}, "The seeds after it"), others)),
    ),
  );
}

async function draw(given, at, face, others) {
  const seeds = Array.from({ length: OTHERS + 1 }, (_, i) => String(BigInt(given.seed) + BigInt(i)));
  const options = { ...LARGE, truncationPsi: given.psi, attributes: stated(given) };
  const { images, usage } = await call(`${GAN}/Sample`, { model: given.gan, seeds, options }, at.signal);
  const take = (image) =>
    face.set({
      model: given.gan,
      origin: { seed: image.seed ?? "0" },
      options,
      url: pictureUrl(image.image),
      name: `seed ${image.seed ?? 0}`,
    });
  take(images[0]);
  others.replaceChildren(
    ...images.slice(1).map((each) =>
      h(
        "button",
        {
          type: "button",
          class: "pick",
          "aria-label": `Take seed ${each.seed}`,
          onclick: () => take(each),
        },
        h("img", { src: pictureUrl(each.image), alt: `a face of nobody: seed ${each.seed}` }),
      ),
    ),
  );
  return `${images.length} faces in ${time(usage.computeMs)} of computing.`;
}
