// A picture to begin from, and marks on it where to paint anew.

import { button, h } from "../../app/dom.js";
import { control, files, slider } from "../../app/fields.js";
import { maskOver } from "../../parts/mask.js";
import { asImage, blobOf, squared } from "../../parts/picture.js";

/** `take(url)` begins from a result; `given()` is what of it goes into a request. */
export function startPart() {
  const file = files("init", "Picture", { accept: "image/*", hint: "Or “Go on” below a result." });
  const strength = slider("strength", "How far to go from it", {
    value: 0.6,
    min: 0.05,
    max: 1,
    step: 0.05,
    shown: (v) => v.toFixed(2),
  });
  const brush = slider("brush", "Brush", {
    value: 0.18,
    min: 0.04,
    max: 0.5,
    step: 0.02,
    shown: (v) => `${Math.round(v * 100)} %`,
  });
  const mask = maskOver(() => Number(control(brush).value));
  const easel = h("div", { class: "easel" });
  const wrong = file.querySelector(".wrong");
  let canvas = null;

  const begin = async (blob) => {
    wrong.textContent = "";
    try {
      canvas = await squared(blob);
    } catch (error) {
      wrong.textContent = error.message;
      return;
    }
    mask.fit(canvas.width);
    easel.replaceChildren(canvas, ...mask.elements);
    tools.hidden = false;
    element.open = true;
  };
  const remove = () => {
    canvas = null;
    control(file).value = "";
    easel.replaceChildren();
    tools.hidden = true;
  };
  control(file).addEventListener("change", () => {
    const [chosen] = control(file).files;
    if (chosen) begin(chosen);
  });
  const tools = h(
    "div",
    { class: "fields", hidden: true },
    easel,
    h(
      "p",
      { class: "hint" },
      "Marked parts are painted anew, the rest stays; without marks all of it changes.",
    ),
    strength,
    brush,
    h("div", { class: "acts" }, button("No marks", mask.clear), button("No picture", remove)),
  );
  const element = h("details", { class: "more" }, h("summary", {}, "Begin from a picture"), file, tools);
  return {
    element,
    take: async (url) => {
      await begin(blobOf(url));
      element.scrollIntoView({ block: "center" });
    },
    given() {
      if (!canvas) return {};
      const marks = mask.drawn();
      return { initImage: asImage(canvas), mask: marks ? asImage(marks) : undefined };
    },
  };
}
