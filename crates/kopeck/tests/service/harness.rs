//! Owns the service under test: starting, killing and restarting it, and clients that talk to it.
//!
//! Never: a look inside; everything is seen through the socket, standard output and the log. Every
//! answer of the API is checked against the API's own description (see `contract`). Bounds: a start
//! may take [`START_MAX`].

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::contract::Contract;

/// The bank of every service under test.
pub(crate) const BANK_EMAIL: &str = "bank@localhost.ru";
/// Its password.
pub(crate) const BANK_PASS: &str = "the bank's password";
/// Everybody else's.
pub(crate) const PASSWORD: &str = "Pa$$w0rd";

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(30);

/// A running service and its directory. Dropped, the service is killed; the directory goes with
/// the last one that uses it.
pub(crate) struct Service {
    home: Arc<tempfile::TempDir>,
    options: Vec<String>,
    child: Child,
    url: String,
    /// What it wrote to standard output up to the line with its address.
    pub(crate) greeting: String,
    contract: Arc<Contract>,
}

impl Service {
    /// Starts one in a directory of its own.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one in a directory of its own, with further options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let home = Arc::new(tempfile::tempdir().unwrap());
        let options = options.iter().map(ToString::to_string).collect();
        Self::spawn(home, options, &[("BANK_EMAIL", BANK_EMAIL), ("BANK_PASS", BANK_PASS)])
    }

    /// Starts one in a directory of its own that cannot write a file beyond so many KiB: the write
    /// fails (EFBIG), as on a disk that breaks.
    pub(crate) fn start_with_files_of_at_most(kib: u32) -> Self {
        Self::start_limited(&format!("trap '' XFSZ; ulimit -f {kib}"))
    }

    /// Starts one in a directory of its own that may have so many files open.
    pub(crate) fn start_with_open_files_of_at_most(count: u32) -> Self {
        Self::start_limited(&format!("ulimit -n {count}"))
    }

    /// Starts one in a directory of its own that hears when a terminal goes, also where whoever runs the tests does not
    /// (`nohup`).
    pub(crate) fn start_with_a_terminal() -> Self {
        Self::start_limited("exec env --default-signal=HUP \"$0\" \"$@\"")
    }

    /// Starts one that ignores that its terminal goes.
    pub(crate) fn start_with_nohup() -> Self {
        Self::start_limited("trap '' HUP")
    }

    fn start_limited(limit: &str) -> Self {
        let home = Arc::new(tempfile::tempdir().unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_kopeck"));
        let bank = [("BANK_EMAIL", BANK_EMAIL), ("BANK_PASS", BANK_PASS)];
        Self::spawn_command(in_home(command, home.path()), home, Vec::new(), &bank)
    }

    /// Starts one in a directory of its own, with this environment and nothing of the bank's.
    pub(crate) fn start_in_environment(environment: &[(&str, &str)]) -> Self {
        Self::spawn(Arc::new(tempfile::tempdir().unwrap()), Vec::new(), environment)
    }

    /// Starts one again on the same directory; the former must have been ended.
    pub(crate) fn start_again(&self) -> Self {
        let bank = [("BANK_EMAIL", BANK_EMAIL), ("BANK_PASS", BANK_PASS)];
        self.start_again_in_environment(&bank)
    }

    /// Starts one again with further options; another data directory, say.
    pub(crate) fn start_again_with(&self, options: &[&str]) -> Self {
        let bank = [("BANK_EMAIL", BANK_EMAIL), ("BANK_PASS", BANK_PASS)];
        let further = options.iter().map(ToString::to_string);
        let options = self.options.iter().cloned().chain(further).collect();
        Self::spawn(Arc::clone(&self.home), options, &bank)
    }

    /// Starts one again on the same directory, with this environment.
    pub(crate) fn start_again_in_environment(&self, environment: &[(&str, &str)]) -> Self {
        Self::spawn(Arc::clone(&self.home), self.options.clone(), environment)
    }

    /// Ends it at once, as a power cut would (SIGKILL), and starts it again on the same directory.
    pub(crate) fn kill_and_start_again(mut self) -> Self {
        self.kill();
        self.start_again()
    }

    /// Ends it at once (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Asks it to stop (SIGTERM) without waiting for it.
    pub(crate) fn ask_to_stop(&self) {
        self.ask_to_stop_by("TERM");
    }

    /// Asks it to stop by a signal without waiting for it.
    pub(crate) fn ask_to_stop_by(&self, signal: &str) {
        self.shell("kill -\"$2\" \"$1\"", signal);
    }

    /// Asks it twice to stop, so many seconds apart, or at once. By two kinds of signal: two of one kind may become one
    /// on their way.
    pub(crate) fn ask_to_stop_twice(&self, apart: &str) {
        let script = "kill -TERM \"$1\"; test -z \"$2\" || sleep \"$2\"; kill -INT \"$1\"";
        self.shell(script, apart);
    }

    /// The shell's own `kill`: a bare Debian has no program of that name.
    fn shell(&self, script: &str, argument: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("sh").args(["-c", script, "sh", &pid, argument]).status();
        assert!(done.unwrap().success());
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < STOP_MAX, "it does not stop; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it listens: `http://127.0.0.1:port`, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The directory of its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Everything it has logged, since the first start.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// How much of it is in memory, in MiB; `None` where the system does not tell.
    pub(crate) fn memory_mib(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<usize>().ok().map(|kib| kib / 1_024)
    }

    /// A client that is not logged in.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, Arc::clone(&self.contract))
    }

    /// A client of this service before it was started again, with the session it had.
    pub(crate) fn resume(&self, former: &Client) -> Client {
        Client { http: former.http.clone(), ..self.client() }
    }

    /// The bank, logged in.
    pub(crate) async fn bank(&self) -> Client {
        let client = self.client();
        let claim = json!({"email": BANK_EMAIL, "password": BANK_PASS});
        client.post("/api/login", &claim).await.expect_ok();
        client
    }

    /// Somebody new, signed up and logged in. The e-mail address is `{name}@example.org`.
    pub(crate) async fn sign_up(&self, name: &str) -> Person {
        let client = self.client();
        let email = format!("{name}@example.org");
        let wanted = json!({"name": name, "email": email, "password": PASSWORD});
        let answer = client.post("/api/signup", &wanted).await.expect_ok();
        Person { wallet: answer.body["wallet_id"].as_u64().unwrap(), email, client }
    }

    /// Somebody new with money.
    pub(crate) async fn sign_up_with(&self, name: &str, amount: &str) -> Person {
        let person = self.sign_up(name).await;
        self.bank().await.deposit(person.wallet, amount).await.expect_ok();
        person
    }

    fn spawn(
        home: Arc<tempfile::TempDir>,
        options: Vec<String>,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::spawn_command(kopeck(home.path()), home, options, environment)
    }

    fn spawn_command(
        mut command: Command,
        home: Arc<tempfile::TempDir>,
        options: Vec<String>,
        environment: &[(&str, &str)],
    ) -> Self {
        let log = File::options().create(true).append(true).open(home.path().join("log")).unwrap();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(&options);
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (send, receive) = mpsc::channel();
        // Read to its end, so that the service is never held up by a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut greeting = String::new();
        let url = loop {
            let Ok(line) = receive.recv_timeout(START_MAX) else {
                let _ = child.kill();
                let log = std::fs::read_to_string(home.path().join("log")).unwrap();
                panic!("it does not start; it said:\n{greeting}\nits log:\n{log}");
            };
            greeting.push_str(&line);
            greeting.push('\n');
            if let Some((_, rest)) = line.split_once("http://") {
                let address: String =
                    rest.chars().take_while(|char| !matches!(char, '/' | '"' | ' ')).collect();
                break format!("http://{address}");
            }
        };
        let contract = Arc::new(Contract::new(&url));
        Self { home, options, child, url, greeting, contract }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, with its data below `home` and nothing of the environment but the path.
pub(crate) fn kopeck(home: &Path) -> Command {
    in_home(Command::new(env!("CARGO_BIN_EXE_kopeck")), home)
}

/// With nothing of this process's environment but what it is found by.
pub(crate) fn in_home(mut command: Command, home: &Path) -> Command {
    command.current_dir(home).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("KOPECK_DATA", home.join("data"));
    command
}

/// Somebody with a wallet, logged in.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) wallet: u64,
    pub(crate) email: String,
}

/// A client with cookies of its own.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    contract: Arc<Contract>,
}

/// An answer, checked against the API's description.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The body, `null` when it is not JSON.
    pub(crate) body: Value,
}

impl Client {
    fn new(url: &str, contract: Arc<Contract>) -> Self {
        let builder = reqwest::Client::builder().cookie_store(true).no_proxy();
        let http = builder.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, url: url.to_owned(), contract }
    }

    /// A request to be made up by hand; send it with [`send`](Self::send).
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// As [`send`](Self::send), for services that may be killed meanwhile.
    pub(crate) async fn try_send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> reqwest::Result<Answer> {
        let request = request.build()?;
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        let answer = Answer { status, headers, text, body };
        self.contract.check(&method, &path, &answer).await;
        Ok(answer)
    }

    /// Panics when a value is not what the API's description calls by this name.
    pub(crate) async fn check_component(&self, name: &str, value: &Value) {
        self.contract.check_component(name, value).await;
    }

    /// Logs somebody in who has [`PASSWORD`].
    pub(crate) async fn log_in(&self, email: &str) {
        let claim = json!({"email": email, "password": PASSWORD});
        self.post("/api/login", &claim).await.expect_ok();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    /// Posts text that says it is JSON.
    pub(crate) async fn post_text(&self, path: &str, text: impl Into<String>) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(text.into())).await
    }

    /// The amount is the text of a JSON number.
    pub(crate) async fn deposit(&self, wallet: u64, amount: &str) -> Answer {
        let body = format!(r#"{{"wallet_id": {wallet}, "amount": {amount}}}"#);
        self.post_text("/api/external_to_wallet", body).await
    }

    /// The amount is the text of a JSON number.
    pub(crate) async fn transfer(&self, wallet: u64, amount: &str) -> Answer {
        let body = format!(r#"{{"wallet_id": {wallet}, "amount": {amount}}}"#);
        self.post_text("/api/wallet_to_wallet", body).await
    }

    /// The exact text of the caller's balance.
    pub(crate) async fn balance(&self) -> String {
        let answer = self.get("/api/wallet").await.expect_ok();
        answer.number("balance")
    }
}

impl Answer {
    pub(crate) fn expect_ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text);
        self
    }

    /// It must be a problem with this status and code.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        let found = (self.status, self.body["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        self
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The exact text of the first number with this name in the body.
    pub(crate) fn number(&self, name: &str) -> String {
        let (_, rest) = self.text.split_once(&format!("\"{name}\":")).unwrap();
        rest.chars().take_while(|char| !matches!(char, ',' | '}')).collect()
    }
}

/// The value of a hidden field of a page's form.
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}
