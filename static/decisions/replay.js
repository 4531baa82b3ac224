// Evaluates a decision again and says whether it is the same.

import { get } from "../api.js";
import { badge, button, element, fill, mono, quiet, table } from "../elements.js";
import { decision as texts } from "../texts.js";

// Gives the button and the place of its result.
export function replay(id) {
  const place = element("div", { id: "replay-result", role: "status", "aria-live": "polite" });
  const run = async () => {
    fill(place, quiet(texts.replaying));
    try {
      fill(place, result(await get(`/decisions/${id}/replay`)));
    } catch (error) {
      fill(place);
      throw error;
    }
  };
  return { button: button(texts.replay, run, { id: "replay" }), place };
}

function result({ identical, differences, not_rerun: notRerun, same_engine: isSameEngine }) {
  const kind = identical ? "identical" : "differs";
  const shown = (value) => mono(typeof value === "string" ? value : JSON.stringify(value));
  return element("div", { class: "notice" },
    element("p", {}, badge(kind, texts[kind]), " ", identical ? texts.identicalDetail(isSameEngine) : texts.differsDetail),
    differences.length ? table(texts.differs, [{ title: texts.where }, { title: texts.recorded }, { title: texts.computed }],
      differences.map(({ path, recorded, computed }) => [mono(path), shown(recorded), shown(computed)])) : null,
    notRerun.length ? quiet(texts.notRerun(notRerun.join(", "))) : null);
}
