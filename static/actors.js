// The names of those who did something. Every view shows an actor by `actor(id)`, never by the id alone.
// The ids of a view are resolved together, and names are kept until another person signs in.

import { get } from "./api.js";
import { element } from "./elements.js";
import { whenChanged } from "./session.js";

const AT_ONCE_MAX = 100;
// Long enough for a view to ask for all its actors.
const COLLECT_MS = 20;

let known = new Map();
const waiting = new Map();
let timer = null;

whenChanged(() => { known = new Map(); });

// Parts of the server are named by their ids.
const isNamed = (id) => !/^(user|client):/.test(id);

// The name with the id on hover. Until the name is known, and if there is none, the id.
export function actor(id) {
  const node = element("span", { class: "actor", title: id }, known.get(id) ?? id);
  if (isNamed(id) || known.has(id)) return node;
  waiting.set(id, [...(waiting.get(id) ?? []), node]);
  timer ??= setTimeout(resolveWaiting, COLLECT_MS);
  return node;
}

async function resolveWaiting() {
  timer = null;
  const asked = new Map(waiting);
  waiting.clear();
  const names = await namesOf([...asked.keys()]).catch(() => new Map());
  for (const [id, nodes] of asked) {
    for (const node of nodes) node.textContent = names.get(id) ?? id;
  }
}

// The names of these ids, as far as they are known, by id.
export async function namesOf(ids) {
  const before = known;
  const all = [...new Set(ids)].filter((id) => !isNamed(id) && !before.has(id));
  for (let place = 0; place < all.length; place += AT_ONCE_MAX) {
    const query = new URLSearchParams(all.slice(place, place + AT_ONCE_MAX).map((id) => ["id", id]));
    const { items } = await get(`/actors?${query}`);
    for (const { id, name } of items) before.set(id, name);
  }
  return new Map(ids.map((id) => [id, isNamed(id) ? id : before.get(id)]).filter(([, name]) => name !== undefined));
}
