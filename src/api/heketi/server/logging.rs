//! `/internal/logging`: how much this process logs.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;

use super::super::Face;
use super::super::answer::{self, Answer, Refused};
use super::super::json;
use super::super::wire::LogLevels;

/// The only logger that there is.
const LOGGER: &str = "glusterfs";

/// How much is logged, in Heketi's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    None,
    /// What nobody can work with; errors here.
    Critical,
    /// What went wrong.
    Error,
    /// What looks wrong.
    Warning,
    /// What was done.
    #[default]
    Info,
    /// How it was done.
    Debug,
}

const LEVELS: [(&str, LogLevel); 6] = [
    ("none", LogLevel::None),
    ("critical", LogLevel::Critical),
    ("error", LogLevel::Error),
    ("warning", LogLevel::Warning),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];

impl LogLevel {
    /// The word for it.
    pub fn word(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).map_or("info", |(word, _)| word)
    }

    /// What the log is told: a level of `tracing`.
    pub fn directive(self) -> &'static str {
        match self {
            Self::None => "off",
            Self::Critical | Self::Error => "error",
            Self::Warning => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The text is no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("none, critical, error, warning, info or debug is expected")]
pub struct UnknownLevel;

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        LEVELS.iter().find(|(word, _)| *word == text).map(|(_, level)| *level).ok_or(UnknownLevel)
    }
}

/// Where the level is kept and what follows it. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    level: Arc<Mutex<LogLevel>>,
    follow: Arc<dyn Fn(LogLevel) + Send + Sync>,
}

impl Log {
    /// A log that begins with a level; `follow` is called with each new one.
    pub fn new(level: LogLevel, follow: impl Fn(LogLevel) + Send + Sync + 'static) -> Self {
        Self { level: Arc::new(Mutex::new(level)), follow: Arc::new(follow) }
    }

    /// The level now.
    pub fn level(&self) -> LogLevel {
        *self.level.lock()
    }

    /// Sets the level.
    pub fn set(&self, level: LogLevel) {
        let mut now = self.level.lock();
        *now = level;
        (self.follow)(level);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Log").field(&self.level()).finish()
    }
}

/// `GET /internal/logging`
pub fn get(face: &Face) -> Answer {
    let word = face.options.log.level().word().to_owned();
    let levels = LogLevels { loglevel: BTreeMap::from([(LOGGER.to_owned(), word)]) };
    answer::json(StatusCode::OK, &levels)
}

/// `POST /internal/logging`: 200 with what is so then. A body that is no request is refused with 400 here,
/// unlike elsewhere; an empty level changes nothing.
pub fn set(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let request: LogLevels = json::read(body).map_err(|_| Refused::unparsable_because(body))?;
    let unprocessable = |text: String| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, text);
    let Some(word) = request.loglevel.get(LOGGER) else {
        return Err(unprocessable(format!("Only {LOGGER:?} logger may be modified")));
    };
    if !word.is_empty() {
        let level = word.parse().map_err(|_| unprocessable(format!("invalid log level: {word}")))?;
        face.options.log.set(level);
    }
    Ok(get(face))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_words() {
        for (word, level) in LEVELS {
            assert_eq!((level.word(), word.parse()), (word, Ok(level)));
        }
        assert_eq!("loud".parse::<LogLevel>(), Err(UnknownLevel));
    }

    #[test]
    fn what_follows_is_told() {
        let told = Arc::new(Mutex::new(vec![]));
        let log = Log::new(LogLevel::Warning, {
            let told = told.clone();
            move |level| told.lock().push(level.directive())
        });
        log.set(LogLevel::Debug);
        log.set(LogLevel::None);
        assert_eq!((log.level(), told.lock().as_slice()), (LogLevel::None, &["debug", "off"][..]));
    }
}
