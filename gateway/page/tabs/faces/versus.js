// The same wish to both kinds of models, with the time that each takes.

import { call, DIFFUSION, GAN, stream } from "../../app/api.js";
import { card, h, pictureUrl, time } from "../../app/dom.js";
import { choice, number, refill, control } from "../../app/fields.js";
import { modelField, ofKind } from "../../app/models.js";
import { task } from "../../app/task.js";
import { slot } from "../../parts/picture.js";

const ASKED = ["expression", "hair_color", "hair", "glasses", "background"];
const FIRST = { expression: "smiling", hair_color: "red", glasses: "round glasses", background: "blue" };
const LARGE = 4;

export function sideBySideCard() {
  const [gan, diffusion] = [slot(), slot()];
  const wishes = ASKED.map((name) => choice(`versus ${name}`, name.replaceAll("_", " "), [["", "any"]]));
  const fit = (model) =>
    ASKED.forEach((name, i) => {
      const known = (model?.config?.attributes ?? [])
        .filter(([each]) => each === name)
        .map(([, value]) => [value, value]);
      refill(control(wishes[i]), [["", "any"], ...known], control(wishes[i]).value || FIRST[name] || "");
    });
  const form = task({
    label: "Race",
    link: false,
    fields: [
      h("div", { class: "pairs" }, ...wishes),
      number("versus_seed", "Seed", { value: 4, min: 0, required: true }),
      modelField("versus_gan", "GAN", ofKind("GAN"), { prefer: "peeps-gan", then: fit }),
      modelField("versus_diffusion", "Diffusion", ofKind("DIFFUSION"), { prefer: "peeps-diffusion" }),
    ],
    run: async (given, at) => {
      const wanted = Object.fromEntries(
        ASKED.map((name) => [name, given[`versus ${name}`]]).filter(([, value]) => value),
      );
      gan.clear();
      diffusion.clear();
      const one = await drawn(given, wanted, gan, at);
      const many = await painted(given, sentence(wanted), diffusion, at);
      const ratio = Math.round(many / one);
      return `One pass took ${time(one)} of computing, step by step ${time(many)}: ${ratio} times as long.`;
    },
  });
  return card(
    "Side by side",
    h(
      "p",
      { class: "note" },
      "One pass of a generator, or many steps out of noise: what is quick and " + "what is good.",
    ),
    h("div", { class: "split" }, form, h("div", { class: "grid two" }, gan.element, diffusion.element)),
  );
}

/** Milliseconds of computing, by the platform's own clock. */
async function drawn(given, attributes, shown, at) {
  at.say("The generator draws …");
  const asked = {
    model: given.versus_gan,
    seeds: [given.versus_seed],
    options: { attributes, upscaleFactor: LARGE, truncationPsi: 0.7 },
  };
  const { images, usage } = await call(`${GAN}/Sample`, asked, at.signal);
  shown.show(pictureUrl(images[0].image), "the GAN's face");
  shown.caption(h("span", {}, `GAN, ${time(usage.computeMs)}`));
  return usage.computeMs;
}

async function painted(given, prompt, shown, at) {
  const asked = {
    model: given.versus_diffusion,
    prompt,
    seed: given.versus_seed,
    upscaleFactor: LARGE,
    previewEvery: 1,
  };
  let spent = 0;
  for await (const { step, image, done, usage } of stream(`${DIFFUSION}/Generate`, asked, at.signal)) {
    if (step) {
      at.say(`“${prompt}”: step ${step.step} of ${step.steps}`);
      at.progress(step.step, step.steps);
      if (step.preview) shown.show(pictureUrl(step.preview, "webp"), "while it is painted");
    }
    if (image) shown.show(pictureUrl(image.image), prompt);
    if (done) spent = usage.computeMs;
  }
  shown.caption(h("span", {}, `Diffusion, ${time(spent)}`));
  return spent;
}

/** The attributes as captions have them. */
function sentence({ expression, hair_color: colour, hair, glasses, background }) {
  const locks = [colour, hair && hair !== "bald" ? hair : ""].filter(Boolean).join(" ");
  const parts = [
    `a ${expression ?? ""} person`.replace("  ", " "),
    hair === "bald" ? "bald" : locks && `with ${locks} hair`,
    glasses && glasses !== "none" ? `and ${glasses}` : "",
  ].filter(Boolean);
  return `${parts.join(" ")}${background ? `, ${background} background` : ""}`;
}
