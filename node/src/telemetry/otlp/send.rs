//! Sends one export request and understands the answer: a POST by HTTP/1.1, or a gRPC call, which is a POST by HTTP/2
//! with a prefix of five bytes and its outcome in the trailers.
//!
//! Connections are kept and made anew by hyper's client. Nothing is sent twice by us: a request that failed is lost.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, TE, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

use super::protobuf::rejected_spans;
use super::{Endpoint, OtlpError, Protocol};

/// Zeros that an encoded request begins with; gRPC puts its prefix there.
pub(in crate::telemetry) const HEADROOM: usize = 5;
/// A receiver's answer may be this long.
const RESPONSE_BYTES_MAX: usize = 64 << 10;
/// Characters of what a receiver says that are told on.
const MESSAGE_CHARS_MAX: usize = 300;
/// The call's path.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Why an export failed.
#[derive(Debug, Error)]
pub(in crate::telemetry) enum SendError {
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// The receiver refused.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The receiver refused by gRPC.
    #[error("gRPC status {status}: {message}")]
    Grpc {
        /// The status.
        status: String,
        /// What the receiver said.
        message: String,
    },
}

/// A way to one receiver.
#[derive(Debug)]
pub(in crate::telemetry) struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    protocol: Protocol,
}

impl Sender {
    pub fn new(endpoint: &Endpoint) -> Result<Self, OtlpError> {
        let url = match endpoint.protocol {
            Protocol::Grpc => format!("{}{GRPC_PATH}", endpoint.url),
            Protocol::Http => endpoint.url.clone(),
        };
        let uri = url.parse().map_err(|_| OtlpError::Endpoint {
            url: endpoint.url.clone(),
            reason: "it isn't a URL that a request can be sent to",
        })?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(endpoint.protocol == Protocol::Grpc);
        Ok(Sender { client: builder.build_http(), uri, protocol: endpoint.protocol })
    }

    /// Sends an encoded `ExportTraceServiceRequest` that begins behind [`HEADROOM`] zeros; how many of its spans the
    /// receiver refused.
    pub async fn send(&self, mut encoded: bytes::BytesMut) -> Result<u64, SendError> {
        let grpc = self.protocol == Protocol::Grpc;
        let length = (encoded.len() - HEADROOM) as u32;
        encoded[1..HEADROOM].copy_from_slice(&length.to_be_bytes());
        let body = encoded.freeze().slice(if grpc { 0 } else { HEADROOM }..);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(CONTENT_TYPE, if grpc { "application/grpc" } else { "application/x-protobuf" })
            .header(USER_AGENT, concat!("outcrop/", env!("CARGO_PKG_VERSION")));
        if grpc {
            request = request.header(TE, "trailers");
        }
        let request = request.body(Full::new(body)).map_err(|error| SendError::Connection(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| SendError::Connection(told(&error)))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(SendError::Status(head.status.as_u16()));
        }
        let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await;
        let body = body.map_err(|error| SendError::Connection(told(&*error)))?;
        if grpc {
            check_grpc(body.trailers().unwrap_or(&head.headers))?;
        }
        let body = body.to_bytes();
        Ok(rejected_spans(body.get(if grpc { HEADROOM } else { 0 }..).unwrap_or_default()))
    }
}

/// The outcome of a call: in the trailers, or in the headers of an answer that has nothing else.
fn check_grpc(fields: &HeaderMap) -> Result<(), SendError> {
    let field = |name| fields.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok());
    match field("grpc-status") {
        Some("0") => Ok(()),
        status => Err(SendError::Grpc {
            status: status.unwrap_or("missing").to_owned(),
            message: field("grpc-message").unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect(),
        }),
    }
}

/// An error with its causes: hyper's own text says only which step failed.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
