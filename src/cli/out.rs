//! Where answers are printed: a terminal, which has a width and colours, or something else, which has neither.

use std::io::{self, IsTerminal, Write};

/// A place to print to.
pub(super) struct Out<'a> {
    to: &'a mut dyn Write,
    terminal: Option<Terminal>,
}

/// What a terminal can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    /// How many characters a line has.
    pub width: u16,
    /// Whether it is to have colours.
    pub colours: bool,
}

impl<'a> Out<'a> {
    /// Standard output, which is locked already, with colours if it is a terminal.
    pub fn terminal(stdout: &'a mut io::StdoutLock<'static>, colours: bool) -> Self {
        let width =
            rustix::termios::tcgetwinsize(&*stdout).ok().map(|size| size.ws_col).filter(|width| *width > 0);
        let width = width.filter(|_| stdout.is_terminal());
        Self { to: stdout, terminal: width.map(|width| Terminal { width, colours }) }
    }

    /// Anything else.
    #[cfg(test)]
    pub fn plain(to: &'a mut dyn Write) -> Self {
        Self { to, terminal: None }
    }

    /// A terminal of that width.
    #[cfg(test)]
    pub fn of_width(to: &'a mut dyn Write, width: u16) -> Self {
        Self { to, terminal: Some(Terminal { width, colours: true }) }
    }

    /// The terminal, if it is one.
    pub fn screen(&self) -> Option<Terminal> {
        self.terminal
    }

    /// Something that is printed here later.
    pub fn beside<'b>(&self, memory: &'b mut Vec<u8>) -> Out<'b> {
        Out { to: memory, terminal: self.terminal }
    }

    /// Prints one picture of several: on a terminal in the place of the last one, else below it.
    pub fn frame(&mut self, picture: &[u8]) -> io::Result<()> {
        if self.terminal.is_some() {
            // Home, each line over the last picture's and cleared to its end, then what is below: nothing flickers.
            let lines = String::from_utf8_lossy(picture).replace('\n', "\x1b[K\n");
            self.to.write_all(format!("\x1b[H{lines}\x1b[J").as_bytes())?;
        } else {
            self.to.write_all(picture)?;
            self.to.write_all(b"\n")?;
        }
        self.to.flush()
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
