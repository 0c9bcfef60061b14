// Pictures: in slots that are there before them, from files, and back to files.

import { h, pictureUrl } from "../app/dom.js";

const LARGEST = 512;

/** A square that waits for a picture; `show(url, alt)`, `caption(…)`, and a bar while `busy`. */
export function slot(className = "") {
  const image = h("img", { alt: "", hidden: true, draggable: "false" });
  const bar = h("progress", { value: 0, max: 1, hidden: true, "aria-label": "How far the picture is" });
  const words = h("figcaption");
  const element = h(
    "figure",
    { class: `slot ${className}` },
    h("div", { class: "frame" }, image, bar),
    words,
  );
  return {
    element,
    url: () => (image.hidden ? "" : image.getAttribute("src")),
    show(url, alt) {
      image.src = url;
      image.alt = alt;
      image.hidden = false;
    },
    clear() {
      image.hidden = true;
      image.removeAttribute("src");
      words.replaceChildren();
    },
    progress(share) {
      bar.hidden = share === null;
      bar.value = share ?? 0;
    },
    caption: (...parts) => words.replaceChildren(...parts),
  };
}

/** A figure of an Image of the API with words below. */
export function picture(image, alt, ...words) {
  const made = slot();
  made.show(pictureUrl(image), alt);
  made.caption(...words);
  return made.element;
}

/** A link that saves a picture. */
export const saved = (url, name) => h("a", { href: url, download: name, class: "quiet" }, "Save");

/** A square canvas with the middle of a picture, at most LARGEST pixels wide. Rejects what is none. */
export async function squared(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new Error(`${blob.name ?? "This"} is not a picture that this browser can read.`);
  }
  const least = Math.min(bitmap.width, bitmap.height);
  const side = Math.min(least, LARGEST);
  const canvas = h("canvas", { width: side, height: side });
  const [left, top] = [(bitmap.width - least) / 2, (bitmap.height - least) / 2];
  canvas.getContext("2d").drawImage(bitmap, left, top, least, least, 0, 0, side, side);
  return canvas;
}

/** A canvas as an Image of the API. */
export const asImage = (canvas) => ({ data: canvas.toDataURL("image/png").split(",")[1] });

/** The bytes behind a data: address. */
export function blobOf(url) {
  const [head, body] = url.split(",");
  const bytes = Uint8Array.from(atob(body), (each) => each.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}
