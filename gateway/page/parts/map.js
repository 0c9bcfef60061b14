// Words as points on a plane.

import { svg } from "../app/dom.js";

const WIDTH = 640;
const HEIGHT = 420;
const MARGIN = 44;
const LETTER = 8.2;
const LINE = 16;
/** Where a word may stand beside its point, the best places first: shares of its width, lines. */
const PLACES = [
  [0, -0.8],
  [0, 1.3],
  [0.62, 0.3],
  [-0.62, 0.3],
  [0.55, -0.7],
  [-0.55, -0.7],
  [0.55, 1.2],
  [-0.55, 1.2],
];

/** Draws [{ word, x, y, group }] as an SVG; the words stand beside their points, out of each other's way. */
export function wordMap(entries) {
  const at = scale(entries);
  const points = entries.map(at);
  const taken = points.map(([x, y]) => ({ x, y: y + 4, width: 9, height: 9 }));
  const marks = entries.map((each, i) => mark(each, points[i], taken));
  const label = `${entries.length} words on a plane: ${entries.map((each) => each.word).join(", ")}`;
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "map" },
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    svg("line", { class: "axis", x1: WIDTH / 2, x2: WIDTH / 2, y1: 0, y2: HEIGHT }),
    ...marks.map(([dot]) => dot),
    ...marks.map(([, word]) => word),
  );
}

function scale(entries) {
  const along = (axis, length) => {
    const values = entries.map((each) => each[axis]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (value) => MARGIN + ((value - low) / (high - low || 1)) * (length - 2 * MARGIN);
  };
  const [across, up] = [along("x", WIDTH), along("y", HEIGHT)];
  return ({ x, y }) => [across(x), HEIGHT - up(y)];
}

function mark({ word, group }, [x, y], taken) {
  const width = word.length * LETTER;
  const boxes = PLACES.map(([dx, dy]) => ({
    x: x + dx * (width + 12),
    y: y + dy * LINE,
    width,
    height: LINE,
  }));
  const crowds = boxes.map((box) => taken.reduce((sum, other) => sum + shared(box, other), 0));
  const best = boxes[crowds.indexOf(Math.min(...crowds))];
  taken.push(best);
  return [
    svg("g", { class: `mark group-${group}` }, svg("circle", { cx: x, cy: y, r: 4.5 })),
    svg(
      "g",
      { class: `mark group-${group}` },
      svg("text", { x: best.x, y: best.y, "text-anchor": "middle" }, word),
    ),
  ];
}

/** The area that two boxes share; `x` is the middle of a box, `y` its foot. */
function shared(a, b) {
  const across = (a.width + b.width) / 2 - Math.abs(a.x - b.x);
  const down = Math.min(a.y, b.y) - Math.max(a.y - a.height, b.y - b.height);
  return across > 0 && down > 0 ? across * down : 0;
}
