// A curve of figures over steps, drawn anew as they come.

import { figure, h, svg } from "../app/dom.js";

const WIDTH = 640;
const HEIGHT = 240;
const LEFT = 52;
const BELOW = 26;
const MARGIN = 12;
const LINES = 4;

/** `add(step, value)`, `mark(step)` for a checkpoint, `clear()`. */
export function chart(label) {
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    class: "chart",
    role: "img",
    "aria-label": label,
  });
  let points = [];
  let marks = [];
  const draw = () => {
    drawing.replaceChildren(...(points.length ? lines(points, marks) : []));
    const last = points.at(-1);
    drawing.setAttribute("aria-label", last ? `${label}: ${figure(last[1])} at step ${last[0]}` : label);
  };
  draw();
  return {
    element: h("div", { class: "figure" }, drawing),
    add(step, value) {
      points.push([step, value]);
      draw();
    },
    mark(step) {
      if (marks.includes(step)) return;
      marks.push(step);
      draw();
    },
    clear() {
      points = [];
      marks = [];
      draw();
    },
  };
}

function lines(points, marks) {
  const [low, high] = [Math.min(...points.map(([, y]) => y)), Math.max(...points.map(([, y]) => y))];
  const far = Math.max(points.at(-1)[0], 1);
  const x = (step) => LEFT + (step / far) * (WIDTH - LEFT - MARGIN);
  const y = (value) => HEIGHT - BELOW - ((value - low) / (high - low || 1)) * (HEIGHT - BELOW - MARGIN);
  const levels = Array.from({ length: LINES + 1 }, (_, i) => low + ((high - low) * i) / LINES);
  return [
    ...levels.map((level) =>
      svg("line", { class: "level", x1: LEFT, x2: WIDTH - MARGIN, y1: y(level), y2: y(level) }),
    ),
    ...levels.map((level) =>
      svg("text", { class: "tick", x: LEFT - 6, y: y(level) + 4, "text-anchor": "end" }, figure(level, 2)),
    ),
    ...marks
      .filter((step) => step <= far)
      .map((step) =>
        svg(
          "line",
          { class: "checkpoint", x1: x(step), x2: x(step), y1: MARGIN, y2: HEIGHT - BELOW },
          svg("title", {}, `checkpoint at step ${step}`),
        ),
      ),
    svg("polyline", {
      class: "curve",
      points: points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
    }),
    svg("text", { class: "tick", x: WIDTH - MARGIN, y: HEIGHT - 6, "text-anchor": "end" }, `step ${far}`),
  ];
}
