// Checkpoints, best first, with their scores; any of them can be promoted.

import { call, FINETUNE } from "../../app/api.js";
import { button, figure, h } from "../../app/dom.js";
import { askAgain } from "../../app/models.js";

/** `wrong` shows what the platform has against a promotion. */
export function checkpointTable(wrong) {
  const head = h("tr");
  const body = h("tbody");
  const room = h(
    "div",
    { class: "scroll", hidden: true },
    h("table", {}, h("caption", {}, "Checkpoints, best first"), h("thead", {}, head), body),
  );
  const known = new Map();
  let job = null;

  const refresh = async () => {
    const { checkpoints = [] } = await call(`${FINETUNE}/ListCheckpoints`, { jobId: job.jobId });
    checkpoints.forEach((each) => known.set(each.checkpointId, each));
    draw();
  };
  const promote = async (checkpointId) => {
    wrong.textContent = "";
    try {
      await call(`${FINETUNE}/PromoteCheckpoint`, { jobId: job.jobId, checkpointId });
      askAgain();
      await refresh();
    } catch (error) {
      wrong.textContent = error.message;
    }
  };
  const draw = () => {
    const rows = [...known.values()].sort(
      (a, b) => (a.rank || Infinity) - (b.rank || Infinity) || Number(a.step) - Number(b.step),
    );
    const names = [...new Set(rows.flatMap((each) => (each.scores ?? []).map(({ name }) => name)))];
    room.hidden = !rows.length;
    head.replaceChildren(
      ...["Rank", "Step", ...names.map((each) => each.replaceAll("_", " ")), ""].map((each) =>
        h("th", { scope: "col" }, each),
      ),
    );
    body.replaceChildren(...rows.map((each) => row(each, names, promote)));
  };
  return {
    element: room,
    of(chosen) {
      job = chosen;
    },
    clear() {
      known.clear();
      draw();
    },
    take(checkpoint) {
      known.set(checkpoint.checkpointId, checkpoint);
      draw();
    },
    refresh: () =>
      refresh().catch((error) => {
        wrong.textContent = error.message;
      }),
  };
}

function row(checkpoint, names, promote) {
  const { checkpointId, rank = 0, step = 0, scores = [], vetoReason = "", promoted, best } = checkpoint;
  const score = (name) => {
    const found = scores.find((each) => each.name === name);
    return h(
      "td",
      { class: found?.veto ? "wrong" : null, title: found?.rank ? `place ${found.rank}` : null },
      found ? figure(found.value ?? 0) : "–",
    );
  };
  const label = promoted ? "Served" : "Promote";
  return h(
    "tr",
    { class: best ? "best" : null },
    h("th", { scope: "row", title: vetoReason }, vetoReason ? "vetoed" : rank ? String(rank) : "–"),
    h("td", {}, String(step)),
    ...names.map(score),
    h(
      "td",
      {},
      button(label, () => promote(checkpointId), {
        disabled: promoted === true,
        "aria-label": `${label} the checkpoint of step ${step}`,
      }),
    ),
  );
}
