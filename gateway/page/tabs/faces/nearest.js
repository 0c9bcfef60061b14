// What the model has seen that is nearest to the face: that it is no copy.

import { call, GAN } from "../../app/api.js";
import { card, grouped, h, percent } from "../../app/dom.js";
import { task } from "../../app/task.js";
import { asImage, blobOf, picture, slot, squared } from "../../parts/picture.js";

const SHOWN = 4;

export function nearestCard(face) {
  const room = h("div", { class: "grid two" }, ...Array.from({ length: SHOWN }, () => slot().element));
  const judged = h("p", { class: "note" });
  const form = task({
    label: "Search",
    link: false,
    fields: [],
    run: async (_, at) => {
      if (!face.url) return "Draw a face first.";
      const image = asImage(await squared(blobOf(face.url)));
      const [found, { scores }] = await Promise.all([
        call(`${GAN}/Nearest`, { model: face.model, origin: face.origin, limit: SHOWN }, at.signal),
        call(`${GAN}/Score`, { model: face.model, images: [image] }, at.signal),
      ]);
      room.replaceChildren(...(found.images ?? []).map(shown));
      judged.textContent = verdict(scores[0]);
      return `The nearest of ${grouped(found.searched)} drawings that it learnt from.`;
    },
  });
  return card(
    "No copy",
    h("p", { class: "note" }, "The training images that are nearest to the face above."),
    form,
    room,
    judged,
  );
}

function shown({ image, similarity = 0, index = 0, caption = "" }) {
  const words = [
    h("span", {}, `${percent(similarity)} alike`),
    caption && h("span", { class: "note" }, brief(caption)),
  ];
  if (image) return picture(image, caption || `training image ${index}`, ...words.filter(Boolean));
  const made = slot("words");
  made.caption(h("span", {}, `no. ${index}`), ...words.filter(Boolean));
  return made.element;
}

/** Captions that are lists, `hair: bun, hat: none`, without what is none. */
function brief(caption) {
  const parts = caption.split(", ").map((each) => each.split(": "));
  return parts.every((each) => each.length === 2)
    ? parts
        .filter(([, value]) => value !== "none")
        .map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`)
        .join(", ")
    : caption;
}

function verdict({ realPercentile = 0, fakePercentile = 0 }) {
  return (
    `The discriminator thinks it more real than ${Math.round(realPercentile)} % of drawings and than ` +
    `${Math.round(fakePercentile)} % of faces that the generator makes.`
  );
}
