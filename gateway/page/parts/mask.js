// Marks on a picture: where it is to be painted anew. By mouse, finger or keyboard.

import { h } from "../app/dom.js";

const STEP = 0.04;
const MARK = "#e8672a";

/** Marks on a square picture. `brush()`: the brush's share of the picture's side. */
export function maskOver(brush) {
  const canvas = h("canvas", {
    class: "mask",
    tabindex: 0,
    role: "application",
    "aria-label":
      "Marks where to paint anew. Arrow keys move the brush, space marks, backspace takes all marks away.",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const cursor = h("span", { class: "cursor", "aria-hidden": "true" });
  const at = { x: 0.5, y: 0.5 };
  let last = null;

  const place = (x, y) => {
    [at.x, at.y] = [x, y].map((each) => Math.max(0, Math.min(1, each)));
    cursor.style.setProperty("--x", at.x);
    cursor.style.setProperty("--y", at.y);
    cursor.style.setProperty("--brush", brush());
  };
  const paint = () => {
    const side = canvas.width;
    context.strokeStyle = MARK;
    context.lineCap = "round";
    context.lineWidth = brush() * side;
    context.beginPath();
    context.moveTo((last ?? at).x * side, (last ?? at).y * side);
    context.lineTo(at.x * side + 0.01, at.y * side);
    context.stroke();
    last = { ...at };
  };
  const clear = () => context.clearRect(0, 0, canvas.width, canvas.height);
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    place((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    if (event.buttons) paint();
    else last = null;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = null;
    point(event);
  });
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[
      event.key
    ];
    if (move) place(at.x + move[0], at.y + move[1]);
    else if (event.key === " ") paint();
    else if (event.key === "Backspace") clear();
    else return;
    last = null;
    event.preventDefault();
  });
  canvas.addEventListener("focus", () => place(at.x, at.y));

  return {
    elements: [canvas, cursor],
    clear,
    fit(side) {
      canvas.width = side;
      canvas.height = side;
    },
    /** White where it is marked, black elsewhere; null where nothing is. */
    drawn: () => blackAndWhite(canvas, context),
  };
}

function blackAndWhite(canvas, context) {
  const marks = context.getImageData(0, 0, canvas.width, canvas.height);
  let any = false;
  for (let i = 0; i < marks.data.length; i += 4) {
    const value = marks.data[i + 3] > 127 ? 255 : 0;
    any ||= value > 0;
    marks.data.fill(value, i, i + 3);
    marks.data[i + 3] = 255;
  }
  if (!any) return null;
  const made = h("canvas", { width: canvas.width, height: canvas.height });
  made.getContext("2d").putImageData(marks, 0, 0);
  return made;
}
