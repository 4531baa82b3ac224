// What happens when: signing in, refreshing, uploading.

import { signIn, signOut, whenExpired } from "./api.js";
import { closeEvidence, replayShown, showDecisions } from "./decisions.js";
import { byId, element, fill, say } from "./elements.js";
import { showPlugins, upload } from "./plugins.js";
import { showRuleset } from "./ruleset.js";

const fillable = ["ruleset", "decisions", "evidence", "plugins", "uploaded"];

// One thing at a time per button; what goes wrong is said.
async function act(button, work) {
  if (button) button.disabled = true;
  try {
    say("");
    await work();
  } catch (error) {
    say(error.message, true);
  } finally {
    if (button) button.disabled = false;
  }
}

// A token may lack the scope of one part; the others are shown all the same.
async function showPart(id, show) {
  try {
    await show();
  } catch (error) {
    fill(byId(id), element("p", { class: "quiet" }, error.message));
  }
}

function enter({ expiresAt }) {
  byId("sign-in").hidden = true;
  byId("workplace").hidden = false;
  byId("sign-out").hidden = false;
  byId("session").textContent = `Signed in until ${new Date(expiresAt).toLocaleTimeString()}`;
  byId("content").focus();
  return Promise.all([
    showPart("ruleset", showRuleset),
    showPart("decisions", showDecisions),
    showPart("plugins", showPlugins),
  ]);
}

function leave(message) {
  signOut();
  for (const id of fillable) fill(byId(id));
  byId("evidence-section").hidden = true;
  byId("workplace").hidden = true;
  byId("sign-out").hidden = true;
  byId("sign-in").hidden = false;
  byId("session").textContent = "Not signed in";
  byId("client-id").focus();
  say(message);
}

whenExpired(() => leave("Your session has ended. Sign in again."));

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const secret = byId("client-secret");
  act(event.submitter, async () => {
    const session = await signIn(byId("client-id").value.trim(), secret.value);
    secret.value = "";
    await enter(session);
  });
});

byId("upload-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [file] = byId("plugin-file").files;
  fill(byId("uploaded"), element("p", {}, "Uploading…"));
  act(event.submitter, async () => {
    try {
      await upload(file);
    } catch (error) {
      fill(byId("uploaded"));
      throw error;
    }
    await showPlugins();
  });
});

const onClick = (id, work) => byId(id).addEventListener("click", (event) => act(event.currentTarget, work));
onClick("ruleset-refresh", showRuleset);
onClick("decisions-refresh", () => showDecisions());
onClick("decisions-more", () => showDecisions(true));
onClick("plugins-refresh", showPlugins);
onClick("replay", replayShown);
byId("evidence-close").addEventListener("click", closeEvidence);
byId("outcome").addEventListener("change", () => act(null, () => showDecisions()));
byId("sign-out").addEventListener("click", () => leave("You are signed out."));
