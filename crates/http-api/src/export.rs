//! Lists as files: `format=json` or `format=csv` (§1.8).
//!
//! A file is written while it is sent, a stretch of rows at a time, so that a long one needs no more memory than a short
//! one and begins at once. What fails before the first stretch is answered as any failure; what fails later ends the
//! connection, so that nobody takes half a file for a whole one.
//!
//! ```ignore
//! let format = Format::wanted(&query)?;                           // 400 UNSUPPORTED_FORMAT
//! api.limits.export(&caller.user)?;                               // 429
//! export::file(format.unwrap_or(Format::Json), "usage", &rows)    // or `export::stream`, for lists without an end
//! ```

mod csv_text;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use kernel::ErrorCode;
use serde::Serialize;

use crate::{ApiError, Query};

/// In which form a list is sent as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON array.
    Json,
    /// RFC 4180 with a header row, UTF-8.
    Csv,
}

impl Format {
    /// What `format` asks for, if anything.
    ///
    /// # Errors
    /// 400 `UNSUPPORTED_FORMAT`
    pub fn wanted(query: &Query) -> Result<Option<Self>, ApiError> {
        match query.reader().raw(&["format"]) {
            None => Ok(None),
            Some((_, "json")) => Ok(Some(Self::Json)),
            Some((_, "csv")) => Ok(Some(Self::Csv)),
            Some(_) => Err(ErrorCode::UnsupportedFormat.into()),
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// A row of a file. As JSON it is what it serialises to.
pub trait Row: Serialize + Send + Sync {
    /// The keys that become columns, in their order; `a.b` is the key `b` of the object `a`. Objects and lists stand in
    /// their cells as JSON, `null` as nothing.
    const COLUMNS: &'static [&'static str];
}

/// Rows that come a stretch at a time.
pub trait Source: Send + 'static {
    /// What comes.
    type Row: Row;

    /// The columns, where not all of [`Row::COLUMNS`] were asked for.
    fn columns(&self) -> Vec<&'static str> {
        Self::Row::COLUMNS.to_vec()
    }

    /// The next rows; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Self::Row>, ApiError>> + Send;
}

/// A list that is at hand, as the file `<name>.json` or `<name>.csv`.
///
/// # Errors
/// 500 where a row cannot be written, which is a defect.
pub fn file<R: Row>(format: Format, name: &'static str, rows: &[R]) -> Result<Response, ApiError> {
    let mut writer = Writer::new(format, R::COLUMNS.to_vec());
    let mut text = writer.rows(rows)?;
    text.extend_from_slice(writer.end());
    Ok(attachment(format, name, Body::from(text)))
}

/// A list of any length, as the file `<name>.json` or `<name>.csv`.
///
/// # Errors
/// Those of the source's first rows.
pub async fn stream<S: Source>(format: Format, name: &'static str, mut source: S) -> Result<Response, ApiError> {
    let mut writer = Writer::new(format, source.columns());
    let first = source.next().await?;
    let text = writer.rows(&first)?;
    let more = !first.is_empty();
    let body = Download { ready: Some(text.into()), step: Some(Box::pin(step(source, writer, more))) };
    Ok(attachment(format, name, Body::new(body)))
}

fn attachment(format: Format, name: &str, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    let disposition = format!("attachment; filename=\"{name}.{}\"", format.extension());
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// Writes rows as text.
struct Writer {
    format: Format,
    begun: bool,
    columns: Vec<&'static str>,
}

impl Writer {
    const fn new(format: Format, columns: Vec<&'static str>) -> Self {
        Self { format, begun: false, columns }
    }

    /// The text of the next rows; the first call begins the file, whether there are any or not.
    fn rows<R: Row>(&mut self, rows: &[R]) -> Result<Vec<u8>, ApiError> {
        let first = !std::mem::replace(&mut self.begun, true);
        match self.format {
            Format::Csv => csv_text::lines(rows, &self.columns, first).map_err(ApiError::internal),
            Format::Json => {
                let mut text = Vec::with_capacity(rows.len() * 256);
                for (index, row) in rows.iter().enumerate() {
                    text.push(if first && index == 0 { b'[' } else { b',' });
                    serde_json::to_writer(&mut text, row).map_err(ApiError::internal)?;
                }
                if first && rows.is_empty() {
                    text.push(b'[');
                }
                Ok(text)
            }
        }
    }

    const fn end(&self) -> &'static [u8] {
        match self.format {
            Format::Csv => b"",
            Format::Json => b"]",
        }
    }
}

/// What comes of one step of a download: the next text, and how it goes on unless that was the last.
type Step = Pin<Box<dyn Future<Output = Result<Stretch, ApiError>> + Send>>;

struct Stretch {
    text: Bytes,
    then: Option<Step>,
}

async fn step<S: Source>(mut source: S, mut writer: Writer, more: bool) -> Result<Stretch, ApiError> {
    let rows = if more { source.next().await? } else { Vec::new() };
    if rows.is_empty() {
        return Ok(Stretch { text: Bytes::from_static(writer.end()), then: None });
    }
    let text = writer.rows(&rows)?.into();
    Ok(Stretch { text, then: Some(boxed(source, writer)) })
}

/// Names the type, which refers to itself.
fn boxed<S: Source>(source: S, writer: Writer) -> Step {
    Box::pin(step(source, writer, true))
}

/// A file on its way.
struct Download {
    ready: Option<Bytes>,
    step: Option<Step>,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(text) = self.ready.take().filter(|text| !text.is_empty()) {
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
            let Some(step) = &mut self.step else { return Poll::Ready(None) };
            match ready!(step.as_mut().poll(cx)) {
                Ok(Stretch { text, then }) => {
                    self.ready = Some(text);
                    self.step = then;
                }
                Err(error) => {
                    self.step = None;
                    tracing::error!(target: "http", ?error, "an export broke off");
                    return Poll::Ready(Some(Err(std::io::Error::other("the list cannot be read to its end"))));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::response::Response;
    use kernel::ErrorCode;
    use serde::Serialize;

    use super::{Format, Row, Source, file, stream};
    use crate::ApiError;

    #[derive(Clone, Serialize)]
    struct Line {
        name: &'static str,
        count: i64,
    }

    impl Row for Line {
        const COLUMNS: &'static [&'static str] = &["count", "name"];
    }

    /// Gives what is in it, piece by piece; `None` fails.
    struct Pieces(Vec<Option<Vec<Line>>>);

    impl Source for Pieces {
        type Row = Line;

        async fn next(&mut self) -> Result<Vec<Line>, ApiError> {
            if self.0.is_empty() {
                Ok(Vec::new())
            } else {
                self.0.remove(0).ok_or(ErrorCode::ServiceUnavailable.into())
            }
        }
    }

    fn line(name: &'static str, count: i64) -> Line {
        Line { name, count }
    }

    async fn text(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn a_file_is_the_same_whether_it_comes_at_once_or_in_pieces() {
        let rows = [line("a", 1), line("ü\"", 2), line("c", 3)];
        let pieces = || Pieces(vec![Some(rows[..2].to_vec()), Some(rows[2..].to_vec())]);
        let json = r#"[{"name":"a","count":1},{"name":"ü\"","count":2},{"name":"c","count":3}]"#;
        let csv = "count,name\r\n1,a\r\n2,\"ü\"\"\"\r\n3,c\r\n";
        for (format, expected) in [(Format::Json, json), (Format::Csv, csv)] {
            assert_eq!(text(file(format, "lines", &rows).expect("written")).await, expected);
            assert_eq!(text(stream(format, "lines", pieces()).await.expect("begun")).await, expected);
        }
    }

    #[tokio::test]
    async fn no_rows_are_an_empty_array_or_a_header() {
        for (format, expected) in [(Format::Json, "[]"), (Format::Csv, "count,name\r\n")] {
            assert_eq!(text(file::<Line>(format, "lines", &[]).expect("written")).await, expected);
            assert_eq!(text(stream(format, "lines", Pieces(vec![])).await.expect("begun")).await, expected);
        }
    }

    #[tokio::test]
    async fn a_file_has_a_name_and_a_type() {
        let response = file::<Line>(Format::Csv, "lines", &[]).expect("written");
        assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
        assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"lines.csv\"");
        let response = file::<Line>(Format::Json, "lines", &[]).expect("written");
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[tokio::test]
    async fn half_a_file_does_not_look_like_a_whole_one() {
        let broken = stream(Format::Json, "lines", Pieces(vec![Some(vec![line("a", 1)]), None])).await;
        assert!(to_bytes(broken.expect("begun").into_body(), 1 << 20).await.is_err());
        let refused = stream(Format::Json, "lines", Pieces(vec![None])).await.expect_err("nothing was sent");
        assert_eq!(refused.code(), ErrorCode::ServiceUnavailable);
    }
}
