// A conversation, by the chat template of a model that has one.

import { stream, SAMPLER } from "../../app/api.js";
import { button, card, h } from "../../app/dom.js";
import { control, number, slider, text } from "../../app/fields.js";
import { adapterOf, modelField, ofKind } from "../../app/models.js";
import { task } from "../../app/task.js";

export function chatCard() {
  const said = [];
  const log = h("div", { class: "chat", role: "log", "aria-label": "Conversation", tabindex: 0 });
  const form = task({
    label: "Say it",
    fields: [
      text("message", "Message", { rows: 2, required: true, value: "Who was Ahab?" }),
      modelField("chat_model", "Model", ofKind("LANGUAGE_MODEL"), {
        hint: "A model without a chat template says so; full_lm on conversations makes one that has it.",
      }),
      modelField("chat_adapter", "Adapter", adapterOf("sampler"), { first: [["", "none"]] }),
      slider("chat_temperature", "Temperature", {
        value: 0.7,
        min: 0,
        max: 2,
        step: 0.05,
        shown: (t) => t.toFixed(2),
      }),
      number("chat_tokens", "Tokens at most", { value: 120, min: 1, max: 4096 }),
    ],
    run: async (given, at) => {
      const mine = { role: "user", content: given.message };
      const bubble = h("p", { class: "theirs" });
      const request = {
        model: given.chat_model,
        adapter: given.chat_adapter,
        chat: { messages: [...said, mine] },
        sampling: { temperature: given.chat_temperature },
        stopping: { maxTokens: given.chat_tokens },
      };
      let answer = "";
      for await (const each of stream(`${SAMPLER}/GenerateStream`, request, at.signal)) {
        if (!answer && !bubble.isConnected) log.append(h("p", { class: "mine" }, given.message), bubble);
        answer += each.text ?? "";
        bubble.textContent = answer;
        log.scrollTop = log.scrollHeight;
        at.say("Answering …");
      }
      said.push(mine, { role: "assistant", content: answer });
      control(form, "message").value = "";
      return "Answered.";
    },
  });
  const forget = button("New conversation", () => {
    said.length = 0;
    log.replaceChildren();
  });
  return card("Chat", h("div", { class: "split" }, form, h("div", {}, log, forget)));
}
