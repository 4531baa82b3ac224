//! The application that is served: a POST that reads its body and answers with fixed JSON. It must
//! stay without any work of its own.

use rocket::data::ToByteUnit;
use rocket::fairing::AdHoc;
use rocket::http::{Header, Status};
use rocket::request::Request;
use rocket::response::{self, Responder, Response};
use rocket::shield::Shield;
use rocket::{Build, Config, Data, Rocket, post, routes};

pub const PATH: &str = "/api/v1/payments";
const ANSWER_BYTES: usize = 300;

/// With the headers of Tollgate's answers. Content-Length and Date are added by the servers.
struct Answer(String);

impl<'r> Responder<'r, 'static> for Answer {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        Response::build_from(self.0.respond_to(request)?)
            .status(Status::Created)
            .header(Header::new("Content-Type", "application/json"))
            .header(Header::new("Location", "/api/v1/payments/0198c5a0-5b0e-7d11-a3c5-9a4be0a4d1f0"))
            .header(Header::new("X-Request-Id", "0198c5a0-5b0e-7d11-a3c5-9a4be0a4d1f0"))
            .header(Header::new("X-Content-Type-Options", "nosniff"))
            .header(Header::new("Cache-Control", "no-store"))
            .header(Header::new("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"))
            .ok()
    }
}

#[post("/api/v1/payments", data = "<body>")]
async fn pay(body: Data<'_>) -> Result<Answer, Status> {
    let body = body.open(64.kibibytes()).into_bytes().await.map_err(|_| Status::InternalServerError)?;
    let begun = format!(r#"{{"read_bytes":{},"filler":""#, body.len());
    Ok(Answer(format!("{begun}{:x<1$}\"}}", "", ANSWER_BYTES - begun.len() - 2)))
}

/// Calls `ready` with its port when it serves by itself.
pub fn application(ready: impl FnOnce(u16) + Send + Sync + 'static) -> Rocket<Build> {
    let config = Config::figment()
        .merge(("address", "127.0.0.1"))
        .merge(("port", 0))
        .merge(("log_level", "off"))
        .merge(("ident", false));
    // Without headers that Rocket adds by itself.
    rocket::custom(config).attach(Shield::new()).mount("/", routes![pay]).attach(AdHoc::on_liftoff(
        "ready",
        |rocket| {
            let port = rocket.config().port;
            Box::pin(async move { ready(port) })
        },
    ))
}
