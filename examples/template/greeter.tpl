${GREETING} from ${cocker.name}, in ${COLOUR}.
The token is ${TOKEN}; $${TOKEN} and $HOME stay as they are.
