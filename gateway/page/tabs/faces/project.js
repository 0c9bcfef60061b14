// The face that is nearest to a picture.

import { GAN, stream } from "../../app/api.js";
import { button, card, figure, h, pictureUrl } from "../../app/dom.js";
import { control, files, slider } from "../../app/fields.js";
import { task } from "../../app/task.js";
import { asImage, blobOf, slot, squared } from "../../parts/picture.js";

const PREVIEW_EVERY = 5;

export function projectCard(face) {
  const [given, found] = [slot(), slot()];
  const file = files("portrait", "Picture", {
    accept: "image/*",
    hint: "Without one, the face above is looked for.",
  });
  const form = task({
    label: "Look for it",
    link: false,
    fields: [file, slider("project_steps", "Steps", { value: 60, min: 0, max: 400, step: 20 })],
    run: async (wish, at) => {
      const [chosen] = control(file).files;
      if (!chosen && !face.url) return "Draw a face first, or choose a picture.";
      const canvas = await squared(chosen ?? blobOf(face.url));
      given.show(canvas.toDataURL(), "what is looked for");
      given.caption(h("span", {}, "what is looked for"));
      const asked = {
        model: face.model,
        image: asImage(canvas),
        steps: wish.project_steps,
        previewEvery: PREVIEW_EVERY,
        options: { upscaleFactor: face.options.upscaleFactor },
      };
      let end = "";
      for await (const { step, result } of stream(`${GAN}/Project`, asked, at.signal)) {
        if (step) {
          at.say(`Step ${step.step} of ${step.steps}, loss ${figure(step.loss)}`);
          at.progress(step.step, step.steps);
          if (step.preview) found.show(pictureUrl(step.preview), "the face so far");
        }
        if (result) end = take(result, found, face);
      }
      return end;
    },
  });
  return card(
    "Look for a face",
    h("p", { class: "note" }, "The numbers whose face is nearest to a picture of yours."),
    form,
    h("div", { class: "grid two" }, given.element, found.element),
  );
}

function take(result, found, face) {
  const url = pictureUrl(result.image);
  found.show(url, "the nearest face");
  found.caption(
    h("span", {}, "the nearest"),
    button("Take it", () =>
      face.set({ origin: { code: result.code }, url, name: "a face that was looked for" }),
    ),
  );
  return `${figure(result.psnrDb)} dB, similarity ${figure(result.similarity ?? 0, 2)}.`;
}
