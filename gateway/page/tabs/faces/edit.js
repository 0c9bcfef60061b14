// The face, moved along a direction that stands for a word.

import { call, GAN } from "../../app/api.js";
import { button, card, h, pictureUrl, settled } from "../../app/dom.js";
import { choice, control, refill, slider, values } from "../../app/fields.js";
import { models, reference } from "../../app/models.js";
import { task } from "../../app/task.js";
import { slot } from "../../parts/picture.js";

const USUAL = "expression:smiling";

export function editCard(face) {
  const [before, after] = [slot(), slot()];
  const direction = choice("direction", "Direction", []);
  const form = task({
    label: "Edit",
    link: false,
    fields: [
      direction,
      slider("amount", "How far", {
        value: 2,
        min: -5,
        max: 5,
        step: 0.25,
        shown: (v) => (v > 0 ? `+${v}` : String(v)),
        hint: "In standard deviations.",
      }),
    ],
    run: async (given, at) => {
      const asked = {
        model: face.model,
        origin: face.origin,
        options: { ...face.options, returnCodes: true },
        edits: [{ direction: given.direction, amount: given.amount }],
      };
      const { image } = await call(`${GAN}/Edit`, asked, at.signal);
      const url = pictureUrl(image.image);
      after.show(url, `${face.name}, ${given.direction} ${given.amount}`);
      after.caption(
        h("span", {}, "after"),
        button("Take it", () =>
          face.set({
            origin: { code: image.code },
            url,
            name: `${face.name}, ${given.direction} ${given.amount}`,
          }),
        ),
      );
      return `${given.direction.replace(":", ": ")}, ${given.amount}.`;
    },
  });
  const live = settled(() => {
    if (values(form).direction) form.requestSubmit();
  }, 200);
  form.addEventListener("input", live);
  face.onChange(async () => {
    const model = (await models()).find((each) => reference(each) === face.model);
    if (!model) return;
    const known = model.config?.directions ?? [];
    refill(
      control(direction),
      known.map((each) => [each, each.replace(":", ": ").replaceAll("_", " ")]),
      control(direction).value || USUAL,
    );
    before.show(face.url, `before: ${face.name}`);
    before.caption(h("span", {}, "before"));
    live();
  });
  return card(
    "Edit",
    h("p", { class: "note" }, "Words are directions: the face moves along one."),
    form,
    h("div", { class: "grid two" }, before.element, after.element),
  );
}
