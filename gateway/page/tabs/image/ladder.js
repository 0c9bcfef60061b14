// The noise ladder: a picture at rising levels of noise, and what the network sees behind each.

import { call, DIFFUSION } from "../../app/api.js";
import { card, h, percent } from "../../app/dom.js";
import { control, files, slider, text } from "../../app/fields.js";
import { modelField, ofKind } from "../../app/models.js";
import { task } from "../../app/task.js";
import { asImage, blobOf, picture, squared } from "../../parts/picture.js";

/** `climb(url)` shows the ladder of a result. */
export function ladderCard() {
  const room = h("ol", { class: "ladder", tabindex: 0, "aria-label": "Levels of noise" });
  const file = files("ladder_file", "Picture", { accept: "image/*", hint: "Or “Ladder” below a result." });
  let source = null;
  control(file).addEventListener("change", () => {
    [source] = control(file).files;
  });
  const form = task({
    label: "Climb",
    link: false,
    fields: [
      file,
      text("ladder_prompt", "What the network is told", { hint: "Empty: nothing." }),
      slider("rungs", "Rungs", { value: 8, min: 2, max: 24 }),
      modelField("ladder_model", "Model", ofKind("DIFFUSION"), { prefer: "peeps-diffusion" }),
    ],
    run: async (given, at) => {
      if (!source) return "Choose a picture first, here or below a result.";
      const asked = {
        model: given.ladder_model,
        image: asImage(await squared(source)),
        rungs: given.rungs,
        prompt: given.ladder_prompt,
      };
      const { rungs, levels } = await call(`${DIFFUSION}/NoiseLadder`, asked, at.signal);
      room.replaceChildren(...rungs.map((each) => rung(each, levels)));
      return `${rungs.length} of ${levels} levels.`;
    },
  });
  return {
    element: card(
      "Noise ladder",
      h(
        "p",
        { class: "note" },
        "Above: the picture with more and more noise. Below: the clean picture that the network " +
          "makes out behind it.",
      ),
      h("div", { class: "across" }, form),
      room,
    ),
    climb(url) {
      source = blobOf(url);
      form.requestSubmit();
      form.scrollIntoView({ block: "start" });
    },
  };
}

function rung({ level = 0, noise = 0, noisy, predicted }) {
  return h(
    "li",
    {},
    picture(noisy, `level ${level}`, `${percent(noise)} noise`),
    predicted
      ? picture(predicted, `what the network sees at level ${level}`, "seen behind it")
      : h("p", { class: "note" }, "the picture itself"),
  );
}
