//! Every view at the width of a phone, of a laptop and of a large screen, in both colour schemes.

use super::Driver;
use fantoccini::Locator;

use super::accessibility::{close_dialogs, dialogs, open_folded};
use super::devtools::Window;
use super::fixture::Fixture;
use super::rules::press;
use super::views::{ADMIN, show, show_address, sign_in_page, views};

const SIZES: [(u32, u32); 3] = [(390, 844), (1_280, 900), (2_560, 1_440)];
/// Of pictures of whole views.
const HEIGHT_MAX: u64 = 6_000;

/// Stores a picture of the whole view, if pictures are wanted.
async fn whole_picture(window: &Window, (width, height): (u32, u32), name: &str) {
    if std::env::var_os("TOLLGATE_PICTURES").is_none() {
        return;
    }
    let whole = window.run("return document.documentElement.scrollHeight", vec![]).await;
    let whole = whole.as_u64().unwrap().clamp(u64::from(height), HEIGHT_MAX);
    window.resize(width, u32::try_from(whole).unwrap()).await;
    super::picture(&window.browser, name).await;
    window.resize(width, height).await;
}

/// What does not fit, with the name of the view.
async fn misfits(window: &Window, what: &str) -> Vec<String> {
    let found = window.run(include_str!("layout.js"), vec![]).await;
    let found: Vec<String> = serde_json::from_value(found).unwrap();
    found.into_iter().map(|one| format!("{what}: {one}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_fits_into_a_phone_a_laptop_and_a_large_screen() {
    let Some(driver) = Driver::start() else { return };
    let fixture = Fixture::new().await;
    let window = Window::open(&driver).await;
    sign_in_page(&window, &fixture.node, "settings/account", ADMIN).await;
    let (all, mut wrong) = (views(&fixture), Vec::new());
    for (size, scheme) in SIZES.into_iter().flat_map(|size| [(size, "light"), (size, "dark")]) {
        window.resize(size.0, size.1).await;
        window.prefer(scheme).await;
        for (place, view) in all.iter().enumerate() {
            show(&window, view).await;
            let what = format!("{}-{scheme}-{place:02}-{}", size.0, view.name());
            wrong.extend(misfits(&window, &what).await);
            whole_picture(&window, size, &what).await;
            open_folded(&window).await;
            wrong.extend(misfits(&window, &format!("{what}, unfolded")).await);
        }
        for (place, (address, shows, acts)) in dialogs().into_iter().enumerate() {
            show_address(&window, address, shows).await;
            for (within, button) in acts {
                press(&window.browser, within, button).await;
            }
            window.browser.wait().for_element(Locator::Css("dialog[open] h2")).await.expect(address);
            let what = format!("{}-{scheme}-dialog-{place:02}", size.0);
            wrong.extend(misfits(&window, &format!("{what} of {address}")).await);
            super::picture(&window.browser, &what).await;
            close_dialogs(&window).await;
        }
    }
    eprintln!("layout: {} views and {} dialogs at {SIZES:?} in two schemes", all.len(), dialogs().len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    window.browser.close().await.unwrap();
    fixture.node.stop().await;
}
