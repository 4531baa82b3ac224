// Whether changes need a second person. Turning that off needs one itself.

import { get, isProposal, put } from "../api.js";
import { button, card, confirm, element, part, quiet } from "../elements.js";
import { can } from "../session.js";
import { secondPerson as texts } from "../texts.js";

const PATH = "/settings/second-person";

export async function show({ signal }) {
  const state = part(async () => {
    const { needed } = await get(PATH, { signal });
    const change = needed
      ? button(texts.turnOff, () => put(PATH, { needed: false }))
      : button(texts.turnOn, turnOn, { kind: "primary" });
    return element("div", {}, element("p", {}, element("strong", {}, needed ? texts.on : texts.off)),
      can("settings:write") ? element("div", { class: "actions" }, change) : null);
  });
  const turnOn = async () => {
    if (!(await confirm(texts.turnOnTitle, texts.turnOnDetail, texts.turnOn, { kind: "primary" }))) return;
    if (!isProposal(await put(PATH, { needed: true }))) await state.refresh();
  };
  return card(texts.title, quiet(texts.detail), quiet(texts.machines), state.node);
}
