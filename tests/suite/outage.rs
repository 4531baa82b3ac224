//! The database goes away and comes back under a running Rocket.

use rocket::http::Status;
use rocket::local::asynchronous::Client;
use rocket_db_pools::{Connection, Database};
use tollgate::storage::pool::{DatabaseSettings, Databases, Db};
use tollgate::storage::private_server::PrivateServer;

use crate::support::process::server_settings;

#[rocket::get("/role")]
async fn role(mut database: Connection<Db>) -> Option<String> {
    sqlx::query_scalar("select current_user::text").fetch_one(&mut **database).await.ok()
}

async fn answer(client: &Client) -> (Status, Option<String>) {
    let response = client.get("/role").dispatch().await;
    (response.status(), response.into_string().await)
}

#[rocket::async_test]
async fn requests_get_503_while_the_database_is_down_and_work_again_without_a_restart() {
    let folder = crate::private_server::folder();
    let settings = server_settings(folder.path().join("postgres"), false);
    let server = PrivateServer::start(settings.clone()).await.unwrap();
    let url = server.url();
    Databases::open(&DatabaseSettings::for_url(&url)).await.unwrap().close().await;
    server.stop().await.unwrap();

    let figment = rocket::Config::figment()
        .merge(("databases.main.url", &url))
        .merge(("databases.main.connect_timeout", 1))
        .merge(("log_level", "off"));
    let rocket = rocket::custom(figment).attach(Db::init()).mount("/", rocket::routes![role]);
    let client = Client::tracked(rocket).await.unwrap();
    for _ in 0..2 {
        assert_eq!(answer(&client).await.0, Status::ServiceUnavailable);
        let server = PrivateServer::start(settings.clone()).await.unwrap();
        assert_eq!(answer(&client).await, (Status::Ok, Some("tollgate_app".to_owned())));
        server.stop().await.unwrap();
    }
    assert_eq!(answer(&client).await.0, Status::ServiceUnavailable);
}
