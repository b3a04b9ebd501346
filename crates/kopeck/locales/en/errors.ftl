# What people read when something is refused or fails. A key is `error-` and the stable code.

## The rules of money
error-not_the_bank = Only the bank can pay into a wallet.
error-idempotency_key_reused = This form was sent before with something else in it, so nothing was sent now. Look at the history; if you still want to send this, press the button again.
error-external_id_reused = This external id was used before for another deposit.
error-external_id_malformed = The external id must have 1 to 255 visible ASCII characters.
error-amount_malformed = Enter an amount such as { $example }.
error-amount_not_positive = The amount must be more than zero.
error-amount_too_precise = { $digits ->
    [0] Enter a whole amount: { $currency } has no smaller units.
    [one] At most { $digits } digit after the point.
   *[other] At most { $digits } digits after the point.
  }
error-amount_too_large = That is too much: at most { $max } at once.
error-details_too_long = The note is too long: at most { $max } characters.
error-details_malformed = The note has characters that can’t be shown, such as a line break. Take them out, please.
error-sender_is_receiver = This is your own wallet. Whose is the money for?
error-wallet_not_found = There is no wallet with this number. Check it, please.
error-wallet_malformed = A wallet number has digits only, such as 2.
error-wallet_missing = Enter a wallet number.
error-amount_missing = Enter an amount.
error-bank_must_deposit = The bank does not send money: it pays into a wallet.
error-insufficient_funds = You don’t have that much: the balance is { $balance }.
error-balance_limit = That is too much: the balance of one of the two wallets would pass its limit.

## Accounts
error-name_malformed = Enter your name: at most { $max } characters.
error-email_malformed = Enter an e-mail address such as name@example.com.
error-email_taken = There is a wallet with this e-mail already. Log in, or take another address.
error-sign_up_reused = This form was sent before with something else in it, so no wallet was opened now. If one was opened then, log in to it; if you still want this one, press the button again.
error-password_missing = Enter your password.
error-password_too_short = Take a longer password: at least { $min } characters.
error-password_too_long = The password is too long.
error-wrong_credentials = The e-mail or the password is not right.
error-too_many_attempts = Too many tries. Please wait a little and try again.

## The engine and the service
error-overloaded = The service is very busy at this moment. Nothing was done; please try again in a few seconds.
error-storage_full = The service can’t take anything in just now. Nothing was done; please try again later.
error-data_file_locked = The service can’t take anything in just now. Nothing was done; please try again later.
error-closing = The service is restarting. Nothing was done; please try again in a moment.
error-outcome_unknown = We don’t know yet whether it went through. Press the button again without changing anything: it will be done once only, whatever happened.
error-unreadable = Your wallet can’t be read just now. Nothing was changed; please try again later.
error-internal = Something broke on our side. Please try again later.
error-log_in_first = Please log in first. Nothing was sent this time; whether it was sent before, your history will show.
error-other_wallet = Another wallet is open in this browser now, so nothing was sent this time. To go on with this one, fill the form in again.
error-refused_before = This form was sent before and was refused then. What was wrong may have changed: to try again now, press the button.
error-stale_payment = This page was open for too long. Look it over and press the button again. That is safe: it will be paid once only, even if it was sent before.
error-old_form = This page was open for very long, so nothing was sent this time. It may have been sent before: look at the history. If you still want to send this, press the button again.
error-no_cookie = Nothing was sent: this page was open for too long, or your browser keeps no cookies. Press the button again; if that does not help, allow cookies for this site.
error-stale_form = This page was open for too long, so nothing was sent. Look it over and press the button again.

## Whole pages
error-page-bad_request-title = That request makes no sense to us
error-page-bad_request = Something was missing or broken on the way. Go back and try again, please.
error-page-forbidden-title = Not from here
error-page-forbidden = This was sent from another site or from a page that was open for too long. Nothing was done.
error-page-not_found-title = There is no such page
error-page-not_found = The address may be mistyped, or the page was never here. Your money is where it was.
error-page-method_not_allowed-title = That does not work here
error-page-method_not_allowed = This page does not take requests of this kind. Nothing was done.
error-page-payload_too_large-title = That is too large
error-page-payload_too_large = What was sent is far longer than any of our forms. Nothing was done.
error-page-too_many_requests-title = A little slower, please
error-page-too_many_requests = There were too many tries in a short time. Wait a little and try again.
error-page-internal-title = Something broke on our side
error-page-internal = It is written down and will be looked at. Nothing is lost: what was confirmed stays confirmed.
error-page-unavailable-title = Back in a moment
error-page-unavailable = The service is busy or restarting. What was confirmed stays confirmed; please try again in a moment.
