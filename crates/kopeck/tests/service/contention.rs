//! Many clients at once: nothing is lost, nothing is spent twice.

use crate::harness::Service;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_spend_the_same_hundred() {
    const CLIENTS: usize = 64;
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100.00").await;
    let boris = service.sign_up("boris").await;
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, wallet) = (anna.client.clone(), boris.wallet);
            tokio::spawn(async move {
                let mut spent = 0;
                loop {
                    let answer = client.transfer(wallet, "1.00").await;
                    if answer.status != 200 {
                        answer.expect_problem(422, "insufficient_funds");
                        return spent;
                    }
                    spent += 1;
                }
            })
        })
        .collect();
    let mut spent = 0;
    for task in tasks {
        spent += task.await.unwrap();
    }
    assert_eq!(spent, 100);
    assert_eq!(anna.client.balance().await, "0.00");
    assert_eq!(boris.client.balance().await, "100.00");
    assert_eq!(service.bank().await.balance().await, "-100.00");
    let history = boris.client.get("/api/wallet?limit=100").await.expect_ok().body;
    let mut balances: Vec<_> = history["operations"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|operation| operation["balance"].as_f64().unwrap())
        .collect();
    balances.dedup();
    assert_eq!(balances, (1..=100).map(f64::from).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_signs_up_once() {
    let service = Service::start();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let client = service.client();
            tokio::spawn(async move {
                let body = r#"{"name": "a", "email": "a@b.ru", "password": "Pa$$w0rd"}"#;
                client.post_text("/api/signup", body).await
            })
        })
        .collect();
    let mut signed_up = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        if answer.status == 200 {
            signed_up += 1;
        } else {
            answer.expect_problem(409, "email_taken");
        }
    }
    assert_eq!(signed_up, 1);
    assert_eq!(service.sign_up("next").await.wallet, 3);
}
