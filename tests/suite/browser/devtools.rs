//! What WebDriver cannot do and the protocol of Chrome's developer tools can: the size of the
//! window, the colour scheme, scripts before those of the page, the browser's log.

use fantoccini::Client;
use serde_json::{Value, json};

use super::Driver;

/// A browser with its developer tools.
pub struct Window {
    pub browser: Client,
    session: String,
    http: reqwest::Client,
}

/// Collects what must not happen in the page. Runs in every document before its own scripts.
const WATCH: &str = "window.ran = []; window.wrong = [];
    for (const name of ['alert', 'confirm', 'prompt']) window[name] = (text) => ran.push(`${name}(${text})`);
    document.addEventListener('securitypolicyviolation', (event) =>
      wrong.push(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
    window.addEventListener('error', (event) => wrong.push(`error: ${event.message}`));
    window.addEventListener('unhandledrejection', (event) => wrong.push(`rejection: ${event.reason}`));";

impl Window {
    pub async fn open(driver: &Driver) -> Self {
        let browser = driver.browser().await;
        let id = browser.session_id().await.unwrap().expect("a session");
        let session = format!("{}/session/{id}", driver.url);
        let window = Self { browser, session, http: reqwest::Client::new() };
        window.tell("Page.addScriptToEvaluateOnNewDocument", &json!({"source": WATCH})).await;
        window
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let response = self.http.post(format!("{}{path}", self.session)).json(body).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["value"].get("error"), None, "{path} {body}: {answer}");
        answer["value"].clone()
    }

    /// A command of the developer tools.
    pub async fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await
    }

    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.tell("Emulation.setDeviceMetricsOverride", &size).await;
    }

    /// Chooses `light` or `dark`, without animations.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}
        ]);
        self.tell("Emulation.setEmulatedMedia", &json!({"features": features})).await;
    }

    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.browser.execute(script, arguments).await.unwrap()
    }

    /// What the browser has logged since the last call, without messages about statuses of
    /// responses, which the page handles.
    pub async fn logged(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"})).await;
        let entries: Vec<Value> = serde_json::from_value(log).unwrap();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        let messages = severe.filter_map(|entry| entry["message"].as_str().map(str::to_owned));
        messages.filter(|message| !message.contains("the server responded with a status of")).collect()
    }

    /// What has run or gone wrong in the document that is open.
    pub async fn happened(&self) -> Vec<String> {
        let happened = self.run("return [...(window.ran ?? []), ...(window.wrong ?? [])]", vec![]).await;
        serde_json::from_value(happened).unwrap()
    }
}
